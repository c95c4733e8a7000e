// golden_check ROOT [cuda]: every golden folder under ROOT/goldens (tools/dev/random_goldens.py
// writes them) in f32 and f64, on the GPU in f32 and bf16, as one pack and as several. Prints a
// line each: the largest differences, or the error of a model that is refused. Exit code 1 if one
// is above what the arithmetic explains.
#include <algorithm>
#include <cstdio>
#include <string>

#include "tests/golden_run.h"

namespace lockstep {
namespace {

// Logits relative to the golden's largest. The f64 goldens compute RoPE, softmax and norms in fp32,
// and models as narrow as eight channels divide what that rounds by small norms. Losses and norms
// are of several AdamW steps, which amplify, final adapters more so where a gradient is noise.
constexpr Tolerance kExact{1e-5, 2e-4, 2e-3, 3e-5, 1};

// bf16 in these models, some of them ill-conditioned, may be further off where transformers and
// PEFT are: up to kBeside times as far. Mostly we are as far as they are; one matrix was four
// times.
constexpr double kBeside = 5;

Tolerance BF16(const Tolerance& peer) {
  return {std::max(kRandomBF16.logits, kBeside * peer.logits),
          std::max(kRandomBF16.loss, kBeside * peer.loss),
          std::max(kRandomBF16.grad_norm, kBeside * peer.grad_norm),
          std::max(kRandomBF16.gradient, kBeside * peer.gradient),
          std::max(kRandomBF16.final_adapter, kBeside * peer.final_adapter)};
}

bool Check(const std::string& root, const std::string& name, DeviceType device) {
  const std::string folder = root + "/goldens/" + name;
  const auto model = nn::Model::Load(
      TestContext(), {.directory = folder + "/model", .adapter = folder + "/adapter_init"});
  if (!model.ok()) {
    const std::string message(model.status().message());
    std::printf("%-16s refused: %s\n", name.c_str(), message.c_str());
    return true;
  }
  const Golden golden = ReadGolden(root, name);
  const DType other = device == DeviceType::kCPU ? DType::kF64 : DType::kBF16;
  bool right = true;
  for (const DType dtype : {DType::kF32, other}) {
    for (const bool one_pack : {true, false}) {
      const Differences differences = RelativeLogits(
          golden, RunGolden(golden, {.dtype = dtype, .device = device, .one_pack = one_pack}));
      const bool meets = Meets(differences, dtype == DType::kBF16 ? BF16(golden.bf16) : kExact);
      std::printf("%-16s %s %-8s %s%s\n", name.c_str(), NameOf(dtype),
                  one_pack ? "one pack" : "packs", Show(differences).c_str(),
                  meets ? "" : "  DIFFERS");
      right = right && meets;
    }
  }
  return right;
}

int Main(const std::string& root, DeviceType device) {
  int count = 0, wrong = 0;
  for (const std::string& name : GoldenNames(root)) {
    if (name == "none") continue;
    ++count;
    wrong += !Check(root, name, device);
  }
  std::printf("%d goldens, %d differ\n", count, wrong);
  return wrong == 0 && count > 0 ? 0 : 1;
}

}  // namespace
}  // namespace lockstep

int main(int argc, char** argv) {
  const bool cuda = argc == 3 && std::string(argv[2]) == "cuda";
  if (argc == 2 || cuda) {
    return lockstep::Main(argv[1], cuda ? lockstep::DeviceType::kCUDA : lockstep::DeviceType::kCPU);
  }
  std::fprintf(stderr, "usage: golden_check ROOT [cuda]\n");
  return 1;
}
