// How documents are packed is nobody's business: losses and gradients are those of each document by
// itself, up to the rounding of fp32, and no document sees another.
#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <vector>

#include "autograd/tape.h"
#include "base/hash.h"
#include "nn/host_tensor.h"
#include "nn/model.h"
#include "tensor/allocator.h"
#include "tests/tiny_model.h"
#include "tests/trainer_process.h"
#include "trainer/step/data_parallel.h"

namespace lockstep {
namespace {

using Document = std::vector<int32_t>;

std::vector<Document> Documents() {
  std::vector<Document> documents;
  uint64_t random = 3;
  for (const int length : {5, 61, 2, 130, 17, 64}) {
    Document document;
    for (int i = 0; i < length; ++i) {
      random = MixKeys(random, i);
      document.push_back(static_cast<int32_t>(random % 97));
    }
    documents.push_back(document);
  }
  return documents;
}

class PackingTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const std::string folder = FreshPath("model");
    WriteTinyModel(folder);
    nn::ModelOptions options;
    options.directory = folder;
    nn::LoraConfig lora;
    lora.r = 4;
    lora.init = nn::LoraInit::kFalse;  // B is not zero, so that A has a gradient
    options.lora = lora;
    options.num_slots = dist::kNumStepSlots;
    auto model = nn::Model::Load(context_, options);
    ASSERT_TRUE(model.ok()) << model.status();
    model_ = *std::move(model);
  }

  nn::PackedTokens Pack(const std::vector<Document>& documents) const {
    std::vector<int32_t> ids, positions, starts = {0}, rows, targets;
    for (const Document& document : documents) {
      for (size_t i = 0; i < document.size(); ++i) {
        if (i > 0) {
          rows.push_back(static_cast<int32_t>(ids.size()) - 1);
          targets.push_back(document[i]);
        }
        ids.push_back(document[i]);
        positions.push_back(static_cast<int32_t>(i));
      }
      starts.push_back(static_cast<int32_t>(ids.size()));
    }
    const std::vector<int64_t> keys(ids.size(), 0);
    return nn::ToDevice(context_, {ids, positions, starts, rows, targets, keys});
  }

  // One loss for each target.
  std::vector<double> Losses(const std::vector<Document>& documents) const {
    autograd::Tape tape(context_, autograd::Tape::Mode::kForward);
    const nn::PackedTokens pack = Pack(documents);
    const auto hidden = model_->decoder().Hidden(tape, pack);
    return nn::ToHost<double>(context_, model_->decoder().NllSum(tape, hidden, pack, 1).nll);
  }

  // The exact sums of the gradient over these packs, in quanta of 2⁻⁵⁰.
  std::vector<int64_t> Gradient(const std::vector<std::vector<Document>>& packs) const {
    const auto solo = dist::MakeSoloCommunicator();
    DataParallel parallel(context_, &model_->parameters(), solo.get(), {.bucket_cap_mb = 1});
    parallel.BeginStep(static_cast<int64_t>(packs.size()));
    for (size_t i = 0; i < packs.size(); ++i) {
      autograd::Tape tape(context_);
      const nn::PackedTokens pack = Pack(packs[i]);
      const auto hidden = model_->decoder().Hidden(tape, pack);
      parallel.Backward(tape, model_->decoder().NllSum(tape, hidden, pack, 1.0 / 273),
                        i + 1 == packs.size());
    }
    parallel.FinishStep(false);
    EXPECT_EQ(parallel.ReadSums().num_overflow, 0);
    const nn::FlatParameters& parameters = model_->parameters();
    return nn::ToHost<int64_t>(context_, parameters.sums().Slice(0, 0, parameters.numel()));
  }

  CpuAllocator allocator_;
  const Context context_{Stream{allocator_.device()}, &allocator_};
  std::unique_ptr<nn::Model> model_;
};

TEST_F(PackingTest, LossesAreThoseOfEachDocumentByItself) {
  const std::vector<Document> documents = Documents();
  const std::vector<double> together = Losses(documents);
  std::vector<double> alone;
  for (const Document& document : documents) {
    for (const double nll : Losses({document})) alone.push_back(nll);
  }
  ASSERT_EQ(together.size(), alone.size());
  for (size_t i = 0; i < alone.size(); ++i) EXPECT_NEAR(together[i], alone[i], 2e-5) << i;
}

TEST_F(PackingTest, GradientsDoNotDependOnThePacks) {
  const std::vector<Document> d = Documents();
  const std::vector<int64_t> one_pack = Gradient({d});
  double norm = 0, worst = 0;
  for (const int64_t g : one_pack) norm = std::max(norm, std::abs(static_cast<double>(g)));
  ASSERT_GT(norm, 0);
  for (const auto& packs : std::vector<std::vector<std::vector<Document>>>{
           {{d[0]}, {d[1]}, {d[2]}, {d[3]}, {d[4]}, {d[5]}},
           {{d[5], d[3]}, {d[2], d[0], d[4], d[1]}}}) {
    const std::vector<int64_t> others = Gradient(packs);
    for (size_t i = 0; i < others.size(); ++i) {
      worst = std::max(worst, std::abs(static_cast<double>(others[i] - one_pack[i])));
    }
  }
  EXPECT_LT(worst, 1e-5 * norm);
  // A pack that is forgotten would not go unnoticed.
  const std::vector<int64_t> fewer = Gradient({{d[0], d[1], d[2], d[3], d[4]}});
  double missed = 0;
  for (size_t i = 0; i < fewer.size(); ++i) {
    missed = std::max(missed, std::abs(static_cast<double>(fewer[i] - one_pack[i])));
  }
  EXPECT_GT(missed, 1e-3 * norm);
}

TEST_F(PackingTest, NoDocumentSeesAnother) {
  std::vector<Document> documents = Documents();
  const std::vector<double> before = Losses(documents);
  for (int32_t& id : documents[3]) id = (id + 11) % 97;
  const std::vector<double> after = Losses(documents);
  const size_t begin = 4 + 60 + 1, end = begin + 129;  // targets of document 3
  for (size_t i = 0; i < before.size(); ++i) {
    if (i >= begin && i < end) continue;
    EXPECT_EQ(before[i], after[i]) << "target " << i;
  }
  EXPECT_NE(before[begin + 5], after[begin + 5]);
}

}  // namespace
}  // namespace lockstep
