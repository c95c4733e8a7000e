// Parking: tensors that nobody reads for a while wait in host memory, so that their place on the
// device is free for others.
//
//   const auto parked = parking.Park(x);   // queued: x is copied beside what follows
//   …                                      // other tensors come and go
//   const Tensor same = parked->Take();    // the same bytes, for what is queued from now on
//
// What is parked last is taken first, as activations are that backward wants: Take begins to fetch
// the one parked before, so that it comes in while the caller works. Copies go on a stream of their
// own and are ordered by events alone; the host never waits. On the device are, of all that is
// parked, the one on its way out or those being taken and fetched: two tensors at most.
#pragma once

#include <cstdint>
#include <memory>

#include "tensor/context.h"
#include "tensor/runtime.h"
#include "tensor/tensor.h"

namespace lockstep {

class Parking {
 public:
  // `copies`: a stream of context's device for nothing else; `host`: memory that the device copies
  // from and to by itself, for nothing else. Both outlive it.
  Parking(const Context& context, const Stream& copies, Allocator* host);
  // With the runtime's. Nothing where the device computes in host memory: all is parked there.
  static std::unique_ptr<Parking> Create(Runtime& runtime);
  Parking(const Parking&) = delete;
  Parking& operator=(const Parking&) = delete;

  // A tensor that waits. Gone without Take, it is given up.
  class Place {
   public:
    ~Place();
    Place(const Place&) = delete;
    Place& operator=(const Place&) = delete;
    Tensor Take();  // once

   private:
    friend class Parking;
    Place(Parking* parking, const Tensor& x);
    void Fetch();
    void LetGo();

    Parking* const parking_;
    const View like_;
    Tensor host_;
    Tensor device_;                 // the device's side of a copy, until it may go
    uint64_t version_;              // of device_
    std::unique_ptr<Event> moved_;  // behind the last copy
    std::weak_ptr<Place> before_;   // parked before it
  };

  // `x` is contiguous, and nobody writes it any more. Its memory goes back when another tensor is
  // parked and all other owners have let go.
  std::shared_ptr<Place> Park(const Tensor& x);

 private:
  // What is queued on `to` from now on comes behind what is queued on `from` by now.
  void Order(const Stream& from, const Stream& to);

  const Context context_;
  const Stream copies_;
  Allocator* const host_;
  const std::unique_ptr<Event> order_;
  std::weak_ptr<Place> last_;  // parked and not yet taken
};

}  // namespace lockstep
