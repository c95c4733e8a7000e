#include "tensor/parking.h"

#include <utility>

#include "base/check.h"

namespace lockstep {

Parking::Parking(const Context& context, const Stream& copies, Allocator* host)
    : context_(context), copies_(copies), host_(host), order_(Event::Create(context.device())) {}

std::unique_ptr<Parking> Parking::Create(Runtime& runtime) {
  if (runtime.host_allocator() == nullptr) return nullptr;
  return std::make_unique<Parking>(runtime.context(), runtime.copy_stream(),
                                   runtime.host_allocator());
}

void Parking::Order(const Stream& from, const Stream& to) {
  order_->Record(from);
  order_->HoldBack(to);
}

std::shared_ptr<Parking::Place> Parking::Park(const Tensor& x) {
  std::shared_ptr<Place> place(new Place(this, x));
  Order(context_.stream, copies_);
  CopyQueued(copies_, x, place->host_.Mutable("parking"));
  place->moved_->Record(copies_);
  if (const std::shared_ptr<Place> before = last_.lock(); before && before->device_.defined()) {
    before->LetGo();
  }
  place->before_ = std::exchange(last_, place);
  return place;
}

Parking::Place::Place(Parking* parking, const Tensor& x)
    : parking_(parking),
      like_(x.view()),
      host_(
          Tensor::Empty(*parking->host_, x.dtype(), absl::MakeConstSpan(like_.shape, like_.rank))),
      device_(x),
      version_(x.version()),
      moved_(Event::Create(x.device())) {}

Parking::Place::~Place() {
  if (device_.defined()) moved_->HoldBack(parking_->context_.stream);
}

// Of the device's side, behind the copy.
void Parking::Place::LetGo() {
  CHECK_EQ(device_.version(), version_)
      << "[parking] a parked tensor was modified in place by " << device_.last_writer();
  moved_->HoldBack(parking_->context_.stream);
  device_ = Tensor();
}

void Parking::Place::Fetch() {
  device_ = Tensor::Empty(*parking_->context_.allocator, like_.dtype,
                          absl::MakeConstSpan(like_.shape, like_.rank));
  parking_->Order(parking_->context_.stream, parking_->copies_);  // whoever had the memory before
  CopyQueued(parking_->copies_, host_, device_);
  version_ = device_.version();
  moved_->Record(parking_->copies_);
}

Tensor Parking::Place::Take() {
  CHECK(host_.defined()) << "[parking] taken twice";
  if (!device_.defined()) Fetch();
  if (const std::shared_ptr<Place> before = before_.lock()) {
    const bool waits = before->host_.defined() && !before->device_.defined();
    if (waits) before->Fetch();
  }
  parking_->last_ = before_;
  Tensor x = device_;
  LetGo();
  host_ = Tensor();
  return x;
}

}  // namespace lockstep
