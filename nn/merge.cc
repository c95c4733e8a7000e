#include "nn/merge.h"

#include <algorithm>
#include <cmath>
#include <future>
#include <map>
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/file.h"
#include "base/status.h"
#include "base/thread_pool.h"
#include "nn/adapter.h"
#include "nn/adapter_config.h"
#include "nn/folder_copy.h"
#include "nn/json.h"
#include "nn/merged_rows.h"
#include "nn/trainable.h"
#include "nn/weights.h"
#include "tensor/half.h"

namespace lockstep::nn {
namespace {

constexpr int64_t kBlock = int64_t{1} << 22;  // elements of a tensor that are written at a time
constexpr int64_t kTask = int64_t{1} << 17;   // elements that a thread computes, in its cache

// One tensor of the output.
struct Planned {
  std::string name;  // in the files
  const WeightFiles::Entry* entry;
  std::string canonical;
  DType dtype;
  std::vector<int64_t> shape;
};

// Converts, and returns the largest error.
double Round(const std::vector<float>& values, DType dtype, char* bytes) {
  if (dtype == DType::kF32) {
    std::copy_n(reinterpret_cast<const char*>(values.data()), 4 * values.size(), bytes);
    return 0;
  }
  if (dtype == DType::kF64) {
    std::copy(values.begin(), values.end(), reinterpret_cast<double*>(bytes));
    return 0;
  }
  auto* out = reinterpret_cast<uint16_t*>(bytes);
  float largest = 0;  // the differences of neighbors are exact
  for (size_t i = 0; i < values.size(); ++i) {
    out[i] = dtype == DType::kBF16 ? FloatToBf16(values[i]) : FloatToF16(values[i]);
    const float back = dtype == DType::kBF16 ? Bf16ToFloat(out[i]) : F16ToFloat(out[i]);
    largest = std::max(largest, std::abs(back - values[i]));
  }
  return largest;
}

// Writes while the next bytes are computed.
class BackgroundWriter {
 public:
  explicit BackgroundWriter(SafetensorsWriter& writer) : writer_(writer) {}

  absl::Status Append(std::vector<char> bytes) {
    RETURN_IF_ERROR(Wait());
    bytes_ = std::move(bytes);
    pending_ = std::async(std::launch::async, [this] {
      return writer_.Append({bytes_.data(), bytes_.size()});
    });
    return absl::OkStatus();
  }
  absl::Status Wait() { return pending_.valid() ? pending_.get() : absl::OkStatus(); }

 private:
  SafetensorsWriter& writer_;
  std::vector<char> bytes_;
  std::future<absl::Status> pending_;  // its destructor waits
};

class Merge {
 public:
  Merge(const Context& context, const MergeOptions& options)
      : context_(context), options_(options) {}

  absl::StatusOr<MergeReport> Run() {
    RETURN_IF_ERROR(Open());
    RETURN_IF_ERROR(Plan());
    RETURN_IF_ERROR(MakeDirectories(options_.output));
    RETURN_IF_ERROR(WriteShards());
    RETURN_IF_ERROR(CopyOtherFiles(options_.model, options_.output, &report_.files));
    // Last: with it the folder is a model.
    RETURN_IF_ERROR(CopyConfig(options_.model, options_.output,
                               {.untied = report_.untied, .dtype = options_.dtype}));
    report_.files.push_back("config.json");
    return report_;
  }

 private:
  absl::Status Open() {
    if (FileExists(JoinPath(options_.output, "config.json"))) {
      return UserError("--output_dir", absl::StrCat(options_.output, " holds a model already"),
                       "choose a new folder");
    }
    if (FileExists(JoinPath(options_.output, "adapter_config.json"))) {
      return UserError("--output_dir",
                       absl::StrCat(options_.output,
                                    " holds an adapter, which transformers would put on the merged "
                                    "model once more"),
                       "choose a new folder");
    }
    ASSIGN_OR_RETURN(config_, ReadModelConfig(options_.model));
    modules_ = ModulesOf(config_);
    ASSIGN_OR_RETURN(lora_, ReadAdapterConfig(options_.adapter, &report_.warnings));
    ASSIGN_OR_RETURN(trainable_, TrainableOfAdapter(options_.adapter, lora_, config_, modules_,
                                                    &report_.warnings));
    parameters_ = std::make_unique<FlatParameters>(context_, trainable_.specs,
                                                   FlatParameters::Options{.training = false});
    RETURN_IF_ERROR(LoadAdapter(context_, options_.adapter, *parameters_));
    merger_ = std::make_unique<MergedRows>(context_, lora_, trainable_, *parameters_);
    ASSIGN_OR_RETURN(WeightFiles files, WeightFiles::Open(options_.model, config_));
    files_ = std::make_unique<WeightFiles>(std::move(files));
    RETURN_IF_ERROR(files_->Check(WeightsOf(config_, modules_), config_, &report_.warnings));
    return CheckBaseTables(options_.adapter, trainable_.specs, *files_, modules_);
  }

  // Which tensors, in the base files' order.
  absl::Status Plan() {
    const std::string head = modules_.head.path + ".weight";
    const std::string embedding = modules_.embedding + ".weight";
    report_.untied =
        config_.tie_word_embeddings && (merger_->Touches(head) || merger_->Touches(embedding));
    for (const auto& [canonical, entry] : files_->entries()) {
      // A tied head's duplicate would go stale.
      if (config_.tie_word_embeddings && canonical == head) continue;
      planned_.push_back(MakePlan(entry.tensor->name, &entry, canonical));
      if (report_.untied && canonical == embedding) {
        planned_.push_back(MakePlan(head, &entry, head));
      }
    }
    std::stable_sort(planned_.begin(), planned_.end(), [](const Planned& a, const Planned& b) {
      return std::make_pair(a.entry->file->path(), a.entry->tensor->offset) <
             std::make_pair(b.entry->file->path(), b.entry->tensor->offset);
    });
    return absl::OkStatus();
  }

  Planned MakePlan(const std::string& name, const WeightFiles::Entry* entry,
                   const std::string& canonical) const {
    const DType stored = DTypeOfStored(entry->tensor->dtype).value_or(DType::kU8);
    return {name, entry, canonical, IsFloat(stored) ? options_.dtype.value_or(stored) : stored,
            entry->tensor->shape};
  }

  static uint64_t Bytes(const Planned& planned) {
    return planned.entry->tensor->numel() * SizeOf(planned.dtype);
  }

  // Greedy, in order: a shard is closed before it would exceed the limit.
  std::vector<std::vector<const Planned*>> Shards() const {
    std::vector<std::vector<const Planned*>> shards(1);
    uint64_t bytes = 0;
    for (const Planned& planned : planned_) {
      if (!shards.back().empty() && bytes + Bytes(planned) > options_.max_shard_bytes) {
        shards.emplace_back();
        bytes = 0;
      }
      shards.back().push_back(&planned);
      bytes += Bytes(planned);
    }
    return shards;
  }

  absl::Status WriteShards() {
    const auto shards = Shards();
    nlohmann::json index;
    uint64_t total = 0;
    for (size_t i = 0; i < shards.size(); ++i) {
      const std::string file =
          shards.size() == 1
              ? "model.safetensors"
              : absl::StrFormat("model-%05d-of-%05d.safetensors", i + 1, shards.size());
      RETURN_IF_ERROR(WriteShard(file, shards[i]));
      report_.files.push_back(file);
      for (const Planned* planned : shards[i]) {
        index["weight_map"][planned->name] = file;
        total += Bytes(*planned);
      }
    }
    if (shards.size() == 1) return absl::OkStatus();
    index["metadata"]["total_size"] = total;
    report_.files.push_back("model.safetensors.index.json");
    return WriteFileAtomically(JoinPath(options_.output, report_.files.back()), FormatJson(index));
  }

  absl::Status WriteShard(const std::string& file, const std::vector<const Planned*>& shard) {
    std::map<std::string, const Planned*> by_name;
    SafetensorsWriter writer(JoinPath(options_.output, file));
    for (const Planned* planned : shard) {
      by_name[planned->name] = planned;
      writer.Declare(planned->name, planned->dtype, planned->shape);
    }
    RETURN_IF_ERROR(writer.Begin({{"format", "pt"}}));
    BackgroundWriter background(writer);
    for (const StoredTensor& tensor : writer.tensors()) {
      RETURN_IF_ERROR(WriteTensor(*by_name.at(tensor.name), background));
    }
    RETURN_IF_ERROR(background.Wait());
    return writer.Finish();
  }

  absl::Status WriteTensor(const Planned& planned, BackgroundWriter& writer) {
    const StoredTensor& stored = *planned.entry->tensor;
    const bool touched = merger_->Touches(planned.canonical);
    ++(touched ? report_.merged_tensors : report_.copied_tensors);
    if (!touched && DTypeOfStored(stored.dtype) == planned.dtype) {
      return CopyBytes(*planned.entry->file, stored, writer);
    }
    if (touched) RETURN_IF_ERROR(merger_->Prepare(planned.canonical, *planned.entry));
    const int64_t rows = stored.shape.empty() ? 1 : stored.shape[0];
    const int64_t width = rows == 0 ? 0 : stored.numel() / rows;
    const int64_t step = std::max<int64_t>(1, kBlock / std::max<int64_t>(1, width));
    for (int64_t begin = 0; begin < rows; begin += step) {
      const int64_t end = std::min(begin + step, rows);
      std::vector<char> bytes((end - begin) * width * SizeOf(planned.dtype));
      RETURN_IF_ERROR(ComputeRows(planned, touched, begin, end, width, bytes.data()));
      RETURN_IF_ERROR(writer.Append(std::move(bytes)));
    }
    return absl::OkStatus();
  }

  // The rows [begin, end) of a tensor as they will be stored.
  absl::Status ComputeRows(const Planned& planned, bool touched, int64_t begin, int64_t end,
                           int64_t width, char* bytes) {
    const int64_t step = std::max<int64_t>(1, kTask / std::max<int64_t>(1, width));
    struct Task {
      absl::Status status;
      double change = 0, rounding = 0;
    };
    std::vector<Task> tasks((end - begin + step - 1) / step);
    ParallelFor(static_cast<int64_t>(tasks.size()), [&](int64_t i) {
      const int64_t first = begin + i * step, last = std::min(first + step, end);
      std::vector<float> values((last - first) * width);
      tasks[i].status = planned.entry->file->Read(*planned.entry->tensor, first * width,
                                                  last * width, DType::kF32, values.data());
      if (!tasks[i].status.ok()) return;
      if (touched) {
        const std::vector<float> before = values;
        merger_->Apply(planned.canonical, first, last, width, values);
        double& change = tasks[i].change;
        for (size_t k = 0; k < values.size(); ++k) {
          change = std::max(change, std::abs(static_cast<double>(values[k]) - before[k]));
        }
      }
      char* out = bytes + (first - begin) * width * static_cast<int64_t>(SizeOf(planned.dtype));
      tasks[i].rounding = Round(values, planned.dtype, out);
    });
    for (const Task& task : tasks) {
      RETURN_IF_ERROR(task.status);
      report_.largest_change = std::max(report_.largest_change, task.change);
      report_.largest_rounding = std::max(report_.largest_rounding, task.rounding);
    }
    return absl::OkStatus();
  }

  // As they are, and never more than a block of the file's pages in memory.
  static absl::Status CopyBytes(const SafetensorsFile& file, const StoredTensor& stored,
                                BackgroundWriter& writer) {
    for (uint64_t begin = 0; begin < stored.bytes; begin += kBlock) {
      StoredTensor part = stored;
      part.offset += begin;
      part.bytes = std::min<uint64_t>(kBlock, stored.bytes - begin);
      const auto* bytes = reinterpret_cast<const char*>(file.data(part));
      RETURN_IF_ERROR(writer.Append({bytes, bytes + part.bytes}));
      file.Release(part);
    }
    return absl::OkStatus();
  }

  const Context& context_;
  const MergeOptions& options_;
  MergeReport report_;
  ModelConfig config_;
  ModelModules modules_;
  LoraConfig lora_;
  Trainable trainable_;
  std::unique_ptr<FlatParameters> parameters_;
  std::unique_ptr<MergedRows> merger_;
  std::unique_ptr<WeightFiles> files_;
  std::vector<Planned> planned_;
};

}  // namespace

absl::StatusOr<MergeReport> MergeAdapter(const Context& context, const MergeOptions& options) {
  return Merge(context, options).Run();
}

}  // namespace lockstep::nn
