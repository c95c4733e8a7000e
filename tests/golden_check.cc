// golden_check ROOT [cuda]: every golden folder under ROOT/goldens (tools/dev/random_goldens.py
// writes them) in f32 and f64, on the GPU in f32 as one pack and as several, one line each: the
// largest differences, or the error of a model that is refused. Exit code 1 if a difference is
// above what the arithmetic explains.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include "tests/golden_run.h"

namespace lockstep {
namespace {

// Relative to the golden's own figures; the f64 goldens compute RoPE, softmax and norms in fp32.
// Losses and norms are of several AdamW steps, which amplify.
constexpr double kLogits = 5e-6, kGradient = 3e-5, kLoss = 2e-4, kNorm = 2e-3;

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
  double largest = 1;
  for (const GoldenDocument& document : golden.documents) {
    for (const double logit : document.logits_adapter) {
      largest = std::max(largest, std::abs(logit));
    }
  }
  bool right = true;
  for (const bool second : {false, true}) {
    const bool f64 = second && device == DeviceType::kCPU;
    Differences d = RunGolden(
        golden, {.dtype = f64 ? DType::kF64 : DType::kF32, .device = device, .one_pack = !second});
    d.logits_base /= largest;
    d.logits_adapter /= largest;
    const bool meets = std::max(d.logits_base, d.logits_adapter) <= kLogits && d.loss <= kLoss &&
                       d.grad_norm <= kNorm && d.gradient <= kGradient;
    std::printf("%-16s %s logits %.0e %.0e loss %.0e norm %.0e gradient %.0e adapter %.0e%s\n",
                name.c_str(), f64 ? "f64" : "f32", d.logits_base, d.logits_adapter, d.loss,
                d.grad_norm, d.gradient, d.final_adapter, meets ? "" : "  DIFFERS");
    right = right && meets;
  }
  return right;
}

int Main(const std::string& root, DeviceType device) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(root + "/goldens")) {
    if (std::filesystem::exists(entry.path() / "golden.json")) {
      names.push_back(entry.path().filename());
    }
  }
  std::sort(names.begin(), names.end());
  int wrong = 0;
  for (const std::string& name : names) wrong += !Check(root, name, device);
  std::printf("%zu goldens, %d differ\n", names.size(), wrong);
  return wrong == 0 ? 0 : 1;
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
