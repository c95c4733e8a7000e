#include "nn/weights.h"

#include <algorithm>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "base/check.h"
#include "base/file.h"
#include "base/status.h"
#include "base/thread_pool.h"
#include "nn/json.h"
#include "tensor/runtime.h"

namespace lockstep::nn {
namespace {

constexpr char kSingle[] = "model.safetensors";
constexpr char kIndex[] = "model.safetensors.index.json";
constexpr int64_t kChunk = int64_t{1} << 20;  // elements converted at a time
constexpr size_t kShown = 10;                 // names per list in an error

std::string CanonicalName(const std::string& name, const ModelConfig& config) {
  if (!config.nested_text) return name;
  // Files of transformers 4: language_model.model.layers…, language_model.lm_head.
  if (absl::StartsWith(name, "language_model.model.")) {
    return absl::StrCat("model.language_model.", name.substr(sizeof("language_model.model.") - 1));
  }
  return std::string(absl::StripPrefix(name, "language_model."));
}

bool StartsWithAny(const std::string& name, const std::vector<std::string>& prefixes) {
  return std::any_of(prefixes.begin(), prefixes.end(),
                     [&](const std::string& prefix) { return absl::StartsWith(name, prefix); });
}

absl::StatusOr<std::vector<std::string>> ShardNames(const std::string& directory) {
  const std::string index = JoinPath(directory, kIndex);
  // Beside an index, which may be an earlier model's, transformers takes the single file.
  if (FileExists(JoinPath(directory, kSingle))) return std::vector<std::string>{kSingle};
  if (!FileExists(index)) {
    const bool pickled = FileExists(JoinPath(directory, "pytorch_model.bin")) ||
                         FileExists(JoinPath(directory, "pytorch_model.bin.index.json"));
    return UserError(directory, absl::StrCat("neither ", kSingle, " nor ", kIndex, " is there"),
                     pickled ? "pytorch_model.bin is not read: save the model with "
                               "safe_serialization=True"
                             : "the download is incomplete");
  }
  ASSIGN_OR_RETURN(const std::string text, ReadFile(index));
  ASSIGN_OR_RETURN(const nlohmann::json object, ParseJsonObject(text, index));
  const auto map = object.find("weight_map");
  if (map == object.end() || !map->is_object()) {
    return UserError(index, "weight_map: want an object", "fetch the file again");
  }
  std::set<std::string> names;
  for (const auto& [tensor, file] : map->items()) {
    const std::string name = file.is_string() ? file.get<std::string>() : "";
    if (name.empty() || name.find('/') != std::string::npos) {
      return UserError(index, absl::StrCat("weight_map: \"", tensor, "\": want a file's name"),
                       "fetch the file again");
    }
    names.insert(name);
  }
  std::vector<std::string> missing;
  for (const std::string& name : names) {
    if (!FileExists(JoinPath(directory, name))) missing.push_back(name);
  }
  if (!missing.empty()) {
    return UserError(index, absl::StrCat("shards missing: ", absl::StrJoin(missing, ", ")),
                     "the download is incomplete");
  }
  return std::vector<std::string>(names.begin(), names.end());
}

std::string Listing(absl::string_view what, const std::vector<std::string>& names) {
  if (names.empty()) return "";
  const size_t shown = std::min(names.size(), kShown);
  std::string text = absl::StrCat("\n  ", what, " (", names.size(),
                                  "): ", absl::StrJoin(names.begin(), names.begin() + shown, ", "));
  if (names.size() > shown) absl::StrAppend(&text, ", … ", names.size() - shown, " more");
  return text;
}

// Tensors that some files carry and nobody computes with.
bool IsWithoutInfluence(const std::string& name) {
  return absl::EndsWith(name, ".rotary_emb.inv_freq") ||
         absl::EndsWith(name, ".self_attn.attention_mask") || absl::EndsWith(name, "masked_bias");
}

constexpr const char* kQuantizedNames[] = {".qweight",       ".scales",     ".quant_state",
                                           ".absmax",        ".SCB",        ".weight_scale",
                                           ".weight_packed", "proj_blocks", "proj_scales"};

std::string LikelyCause(const std::vector<std::string>& missing,
                        const std::vector<std::string>& surplus,
                        const std::vector<std::string>& misshapen,
                        const std::vector<std::string>& unreadable) {
  const auto any = [](const std::vector<std::string>& names, absl::string_view part) {
    return std::any_of(names.begin(), names.end(),
                       [&](const std::string& name) { return absl::StrContains(name, part); });
  };
  // GPTQ and AWQ, bitsandbytes in 4 and 8 bits, fp8, compressed-tensors, mxfp4.
  const bool quantized = std::any_of(std::begin(kQuantizedNames), std::end(kQuantizedNames),
                                     [&](const char* part) { return any(surplus, part); });
  if (!unreadable.empty() || quantized) {
    return "this is a quantized file: take the model's 16-bit files";
  }
  if (missing.size() == 1 && missing[0] == "lm_head.weight") {
    return "the head seems to be tied: config.json wants \"tie_word_embeddings\": true";
  }
  if (any(surplus, "vision_tower") || any(surplus, "visual.")) {
    return "this is a multimodal model of another model_type: only gemma3's text part is "
           "supported";
  }
  if (any(surplus, "experts")) return "this is a mixture of experts, which is not supported";
  if (any(missing, "qkv_proj") || any(surplus, "qkv_proj") || any(surplus, "_norm.weight") ||
      any(missing, "_norm.weight") || any(surplus, "feedforward_layernorm") ||
      any(missing, "feedforward_layernorm") || any(surplus, ".bias") || any(missing, ".bias")) {
    return "model_type in config.json seems to be another family's than the files'";
  }
  if (!misshapen.empty()) return "config.json belongs to a model of another size";
  return "the files are incomplete or belong to another model";
}

}  // namespace

absl::Status ReadParallel(const SafetensorsFile& file, const StoredTensor& tensor, int64_t begin,
                          int64_t end, DType dtype, void* out) {
  const int64_t width = static_cast<int64_t>(SizeOf(dtype));
  std::vector<absl::Status> statuses((end - begin + kChunk - 1) / kChunk);
  ParallelFor(static_cast<int64_t>(statuses.size()), [&](int64_t task) {
    const int64_t first = begin + task * kChunk;
    statuses[task] = file.Read(tensor, first, std::min(first + kChunk, end), dtype,
                               static_cast<char*>(out) + task * kChunk * width);
  });
  for (const absl::Status& status : statuses) RETURN_IF_ERROR(status);
  return absl::OkStatus();
}

absl::StatusOr<bool> HaveEqualValues(const SafetensorsFile& file_a, const StoredTensor& a,
                                     const SafetensorsFile& file_b, const StoredTensor& b,
                                     DType dtype) {
  if (a.shape != b.shape) return false;
  std::vector<char> ours(kChunk * SizeOf(dtype)), theirs(ours.size());
  for (int64_t begin = 0; begin < a.numel(); begin += kChunk) {
    const int64_t end = std::min(begin + kChunk, a.numel());
    RETURN_IF_ERROR(file_a.Read(a, begin, end, dtype, ours.data()));
    RETURN_IF_ERROR(file_b.Read(b, begin, end, dtype, theirs.data()));
    if (!std::equal(ours.begin(), ours.begin() + (end - begin) * SizeOf(dtype), theirs.begin())) {
      return false;
    }
  }
  return true;
}

bool HasWeights(const std::string& directory) {
  return FileExists(JoinPath(directory, kIndex)) || FileExists(JoinPath(directory, kSingle));
}

absl::StatusOr<WeightFiles> WeightFiles::Open(const std::string& directory,
                                              const ModelConfig& config) {
  WeightFiles out;
  out.directory_ = directory;
  ASSIGN_OR_RETURN(const std::vector<std::string> names, ShardNames(directory));
  for (const std::string& name : names) {
    ASSIGN_OR_RETURN(const std::shared_ptr<const SafetensorsFile> file,
                     SafetensorsFile::Open(JoinPath(directory, name)));
    for (const StoredTensor& tensor : file->tensors()) {
      const std::string canonical = CanonicalName(tensor.name, config);
      const auto [it, is_new] = out.entries_.try_emplace(canonical, Entry{file, &tensor});
      if (!is_new) {
        return UserError(file->path(), absl::StrCat("tensor \"", tensor.name, "\" is also in ",
                                                    it->second.file->path()));
      }
    }
  }
  return out;
}

absl::Status WeightFiles::Check(const std::vector<WeightSpec>& specs, const ModelConfig& config,
                                std::vector<std::string>* left_alone) const {
  std::vector<std::string> missing, surplus, misshapen, unreadable, foreign;
  std::set<std::string> wanted;
  for (const WeightSpec& spec : specs) {
    wanted.insert(spec.name);
    const Entry* entry = Find(spec.name);
    if (entry == nullptr) {
      missing.push_back(spec.name);
    } else if (entry->tensor->shape != spec.shape) {
      misshapen.push_back(absl::StrCat(spec.name, " want ", ShapeText(spec.shape), ", got ",
                                       ShapeText(entry->tensor->shape)));
    } else if (const auto dtype = DTypeOfStored(entry->tensor->dtype); !dtype || !IsFloat(*dtype)) {
      unreadable.push_back(absl::StrCat(spec.name, " ", entry->tensor->dtype));
    }
  }
  for (const auto& [name, entry] : entries_) {
    if (wanted.count(name) > 0) continue;
    const bool tied_head = config.tie_word_embeddings && name == "lm_head.weight";
    if (tied_head || IsWithoutInfluence(name)) continue;
    (StartsWithAny(name, config.foreign_prefixes) ? foreign : surplus).push_back(name);
  }
  if (left_alone != nullptr && !foreign.empty()) {
    left_alone->push_back(absl::StrCat(foreign.size(),
                                       " tensors are not part of the text model "
                                       "and left alone: ",
                                       foreign[0], " …"));
  }
  if (missing.empty() && surplus.empty() && misshapen.empty() && unreadable.empty()) {
    return CheckTiedHead(config);
  }
  return UserError(
      directory_,
      absl::StrCat("the tensors are not those of config.json (", config.model_type, ")",
                   Listing("missing", missing), Listing("misshapen", misshapen),
                   Listing("surplus", surplus), Listing("want F32, F16 or BF16", unreadable)),
      LikelyCause(missing, surplus, misshapen, unreadable));
}

// transformers 4 passed over a head that the config ties away, 5 takes it where it differs.
absl::Status WeightFiles::CheckTiedHead(const ModelConfig& config) const {
  const ModelModules modules = ModulesOf(config);
  const Entry* head = Find(modules.head.path + ".weight");
  if (!config.tie_word_embeddings || head == nullptr) return absl::OkStatus();
  const Entry& embedding = *Find(modules.embedding + ".weight");
  ASSIGN_OR_RETURN(const bool equal,
                   HaveEqualValues(*embedding.file, *embedding.tensor, *head->file, *head->tensor,
                                   DTypeOfStored(head->tensor->dtype).value_or(DType::kF32)));
  if (equal) return absl::OkStatus();
  return UserError(head->file->path(),
                   absl::StrCat(head->tensor->name, ": want the values of ", embedding.tensor->name,
                                ", because config.json says \"tie_word_embeddings\": true; got "
                                "others"),
                   "\"tie_word_embeddings\": false in config.json takes both tables; a model that "
                   "is really tied has no such tensor");
}

const WeightFiles::Entry* WeightFiles::Find(const std::string& name) const {
  const auto it = entries_.find(name);
  return it == entries_.end() ? nullptr : &it->second;
}

absl::Status WeightFiles::Load(const Context& context, const std::string& name,
                               const Tensor& destination) const {
  const Entry* entry = Find(name);
  CHECK(entry != nullptr && entry->tensor->numel() == destination.numel()) << name;
  const View out = destination.Mutable("load");
  CHECK(out.contiguous()) << name;
  const size_t width = SizeOf(out.dtype);
  return FillDevice(context.stream, out, [&](size_t begin, size_t end, void* to) {
    return entry->file->Read(*entry->tensor, static_cast<int64_t>(begin / width),
                             static_cast<int64_t>(end / width), out.dtype, to);
  });
}

}  // namespace lockstep::nn
