#include "tests/golden.h"

#include <algorithm>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/check.h"
#include "base/file.h"
#include "nn/json.h"
#include "nn/safetensors.h"

namespace lockstep {
namespace {

std::vector<double> Doubles(const nn::SafetensorsFile& file, const nn::StoredTensor& tensor) {
  std::vector<double> values(tensor.numel());
  const absl::Status status = file.Read(tensor, 0, tensor.numel(), DType::kF64, values.data());
  CHECK(status.ok()) << status;
  return values;
}

std::vector<int32_t> Ids(const nn::SafetensorsFile& file, const std::string& name) {
  const nn::StoredTensor* tensor = file.Find(name);
  CHECK(tensor != nullptr) << name;
  std::vector<int32_t> ids;
  const DType dtype = *nn::DTypeOfStored(tensor->dtype);
  std::vector<int64_t> wide(tensor->numel());
  std::vector<int32_t> narrow(tensor->numel());
  void* out = dtype == DType::kI64 ? static_cast<void*>(wide.data()) : narrow.data();
  const absl::Status status = file.Read(*tensor, 0, tensor->numel(), dtype, out);
  CHECK(status.ok()) << status;
  if (dtype == DType::kI32) return narrow;
  for (const int64_t id : wide) ids.push_back(static_cast<int32_t>(id));
  return ids;
}

}  // namespace

std::vector<std::string> GoldenNames(const std::string& root) {
  std::vector<std::string> names;
  if (std::filesystem::exists(root + "/goldens")) {
    for (const auto& entry : std::filesystem::directory_iterator(root + "/goldens")) {
      if (std::filesystem::exists(entry.path() / "golden.json"))
        names.push_back(entry.path().filename());
    }
  }
  std::sort(names.begin(), names.end());
  return names.empty() ? std::vector<std::string>{"none"} : names;
}

Golden ReadGolden(const std::string& root, const std::string& name) {
  const std::string folder = absl::StrCat(root, "/goldens/", name);
  const auto text = ReadFile(folder + "/golden.json");
  CHECK(text.ok()) << text.status();
  const auto json = nn::ParseJsonObject(*text, folder);
  CHECK(json.ok()) << json.status();
  Golden golden;
  golden.name = name;
  golden.model = FileExists(folder + "/model/config.json") ? folder + "/model"
                                                           : absl::StrCat(root, "/assets/", name);
  golden.adapter = folder + "/adapter_init";
  golden.learning_rate = (*json)["lr"];
  golden.beta1 = (*json)["betas"][0];
  golden.beta2 = (*json)["betas"][1];
  golden.eps = (*json)["eps"];
  golden.weight_decay = (*json)["weight_decay"];
  golden.num_supervised = (*json)["num_supervised_tokens"];
  for (const auto& record : (*json)["history"]) {
    golden.history.push_back({record["loss"], record["grad_norm"]});
  }
  if (const auto bf16 = json->find("bf16"); bf16 != json->end()) {
    golden.bf16 = {(*bf16)["logits"], (*bf16)["loss"], (*bf16)["grad_norm"], (*bf16)["gradient"],
                   (*bf16)["final_adapter"]};
  }
  const auto opened = nn::SafetensorsFile::Open(folder + "/golden.safetensors");
  CHECK(opened.ok()) << opened.status();
  const nn::SafetensorsFile& file = **opened;
  for (int d = 0; d < (*json)["num_documents"].get<int>(); ++d) {
    GoldenDocument document;
    const std::string prefix = absl::StrCat("doc", d, ".");
    document.input_ids = Ids(file, prefix + "input_ids");
    document.labels = Ids(file, prefix + "labels");
    document.logits_base = Doubles(file, *file.Find(prefix + "logits_base"));
    document.logits_adapter = Doubles(file, *file.Find(prefix + "logits_adapter"));
    golden.documents.push_back(std::move(document));
  }
  for (const nn::StoredTensor& tensor : file.tensors()) {
    absl::string_view rest = tensor.name;
    if (absl::ConsumePrefix(&rest, "grad.")) {
      golden.gradients[std::string(rest)] = Doubles(file, tensor);
    } else if (absl::ConsumePrefix(&rest, "final.")) {
      golden.final_adapter[std::string(rest)] = Doubles(file, tensor);
    }
  }
  return golden;
}

}  // namespace lockstep
