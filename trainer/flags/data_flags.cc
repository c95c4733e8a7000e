#include "trainer/flags/data_flags.h"

#include <gflags/gflags.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <limits>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/file.h"
#include "base/number.h"
#include "base/status.h"
#include "data/columns.h"
#include "data/document_source.h"
#include "data/jinja/json.h"
#include "trainer/flags/flag_values.h"
#include "trainer/flags/model_folder.h"
#include "trainer/flags/user_path.h"

// Numbers that a flag takes over unless it is given.
static const lockstep::DataOptions& kDefaults = *new lockstep::DataOptions;

DEFINE_string(
    model, "",
    "Folder with config.json, *.safetensors and tokenizer.json (Hugging Face layout), or a "
    "hub id that lies in the local cache. The trainer's default: the tiny model that comes with "
    "it.");
DEFINE_string(train_file, "",
              "JSONL, JSON array or .txt; several, separated by commas; - is standard input. "
              "The trainer's default: the data set that comes with it.");
DEFINE_string(validation_file, "", "Documents to evaluate on; like --train_file.");
DEFINE_string(validation_split, "",
              "Share of the documents held out by content hash, the same ones on any number of "
              "ranks. Default: 0.05 for the data set that comes with the trainer, else 0.");
DEFINE_string(format, "",
              "Format of the documents instead of recognizing it: messages, sharegpt, "
              "prompt_completion, alpaca, question_answer, tokens, text.");
DEFINE_string(columns, "",
              "Other names of keys, ours:theirs, e.g. prompt:question,completion:answer.");
DEFINE_string(
    loss_on, "",
    "Which tokens are learned: assistant, completion or all. Default: assistant for chats, "
    "completion for pairs, all for text.");
DEFINE_int64(max_seq_length, kDefaults.length.max_seq_length,
             "Tokens of a document, at most the model's.");
DEFINE_string(long_documents, "truncate",
              "What becomes of longer ones: truncate, split, drop or refuse.");
DEFINE_int64(global_batch_size, kDefaults.global_batch_size,
             "Documents per optimizer step over all ranks: never depends on the number of GPUs.");
DEFINE_string(
    tokens_per_pack, "",
    "Most tokens that go through the model at once. Default: from data and options, at most "
    "8192.");
DEFINE_string(chat_template, "", "A .jinja file, or chatml. Default: the model's.");
DEFINE_string(chat_template_kwargs, "", "Variables for the chat template, a JSON object.");
DEFINE_string(template_date, "",
              "The date that templates see, YYYY-MM-DD, so that a run means the same tomorrow. "
              "Default: the day of the run's start.");
DEFINE_string(system_prompt, "", "Put before chats that have no system message.");
DEFINE_string(pair_template, "{prompt}\n{completion}",
              "How question and answer are joined where the model has no chat template.");
DEFINE_string(history, "per_turn",
              "Chats whose template rewrites earlier turns: per_turn (a document for each trained "
              "turn), last_turn or strict (refuse).");
DEFINE_bool(append_eos, true, "End plain text with the end-of-sequence token.");
DEFINE_bool(skip_bad_documents, false,
            "Leave out documents that are broken; counts and lists them.");
DEFINE_string(cache_dir, "",
              "Where tokens are kept. Default: $XDG_CACHE_HOME/lockstep or ~/.cache/lockstep.");

namespace lockstep {
namespace {

std::string DefaultCacheDir() {
  const std::string home = EnvironmentOr("HOME", "/tmp");
  return JoinPath(EnvironmentOr("XDG_CACHE_HOME", JoinPath(home, ".cache")), "lockstep");
}

absl::Status ReadFilesFlags(DataOptions* options) {
  const bool example_data = FLAGS_train_file.empty(), example_model = FLAGS_model.empty();
  if (example_data != example_model) {
    options->stand_in = example_model ? "--model is not given: it is the tiny one of the example"
                                      : "--train_file is not given: it is the example's";
  }
  if (example_model) {
    ASSIGN_OR_RETURN(FLAGS_model, EmbeddedExample("model"));
  }
  if (example_data) {
    ASSIGN_OR_RETURN(FLAGS_train_file, EmbeddedExample("train.jsonl"));
  }
  ASSIGN_OR_RETURN(options->model, FindModelFolder(FLAGS_model));
  options->model_name = ModelName(options->model);
  options->train_files = UserPaths(FLAGS_train_file);
  options->validation_files = UserPaths(FLAGS_validation_file);
  if (options->train_files.empty()) {
    return UserError("--train_file", absl::StrCat("want a file, got \"", FLAGS_train_file, "\""),
                     "several files are separated by commas");
  }
  const bool split_by_default = example_data && options->validation_files.empty();
  ASSIGN_OR_RETURN(const std::optional<double> split,
                   OptionalNumber("validation_split", FLAGS_validation_split));
  options->validation_split = split.value_or(split_by_default ? 0.05 : 0.0);
  RETURN_IF_ERROR(CheckRange("validation_split", options->validation_split, 0, 0.9));
  if (options->validation_split > 0 && !options->validation_files.empty()) {
    return UserError("--validation_split", "--validation_file is given too", "give one of them");
  }
  options->skip_bad_documents = FLAGS_skip_bad_documents;
  options->cache_dir = FLAGS_cache_dir.empty() ? DefaultCacheDir() : UserPath(FLAGS_cache_dir);
  for (auto* files : {&options->train_files, &options->validation_files}) {
    for (std::string& file : *files) {
      if (!data::IsStream(file)) continue;
      ASSIGN_OR_RETURN(file, data::SpoolStream(file, options->cache_dir));
      options->read_streams = true;
    }
  }

  // Written out, so that run.flags and the run's identity say what was meant.
  FLAGS_validation_split = ShortestNumber(options->validation_split);
  FLAGS_model = options->model;
  FLAGS_train_file = absl::StrJoin(options->train_files, ",");
  FLAGS_validation_file = absl::StrJoin(options->validation_files, ",");
  FLAGS_cache_dir = options->cache_dir;
  return absl::OkStatus();
}

// Resolved here once: other processes of the run, and its resumption, are told.
absl::Status ReadTemplateDate(DataOptions* options) {
  if (FLAGS_template_date.empty()) {
    FLAGS_template_date = absl::FormatTime("%Y-%m-%d", absl::Now(), absl::LocalTimeZone());
  }
  absl::Time time;
  std::string error;
  if (!absl::ParseTime("%Y-%m-%d", FLAGS_template_date, &time, &error) &&
      !absl::ParseTime("%Y-%m-%dT%H:%M:%S", FLAGS_template_date, &time, &error)) {
    return UserError(
        "--template_date",
        absl::StrCat("want YYYY-MM-DD or YYYY-MM-DDTHH:MM:SS, got \"", FLAGS_template_date, "\""),
        "it is the day that a chat template's strftime_now sees");
  }
  options->encode.template_date = FLAGS_template_date;
  return absl::OkStatus();
}

absl::Status ReadEncodeFlags(DataOptions* options) {
  if (!FLAGS_format.empty()) {
    ASSIGN_OR_RETURN(options->examples.format, data::FormatFromName(FLAGS_format));
  }
  if (!FLAGS_columns.empty()) {
    ASSIGN_OR_RETURN(options->examples.columns, data::ParseColumns(FLAGS_columns));
  }
  options->examples.system_prompt = FLAGS_system_prompt;

  data::EncodeOptions& encode = options->encode;
  using data::History;
  using data::LossOn;
  ASSIGN_OR_RETURN(encode.loss_on, Choice<LossOn>("loss_on", FLAGS_loss_on,
                                                  {{"", LossOn::kDefault},
                                                   {"assistant", LossOn::kAssistant},
                                                   {"completion", LossOn::kCompletion},
                                                   {"all", LossOn::kAll}}));
  ASSIGN_OR_RETURN(encode.history, Choice<History>("history", FLAGS_history,
                                                   {{"per_turn", History::kPerTurn},
                                                    {"last_turn", History::kLastTurn},
                                                    {"strict", History::kStrict}}));
  if (!FLAGS_chat_template.empty() && FLAGS_chat_template != "chatml") {
    FLAGS_chat_template = UserPath(FLAGS_chat_template);
    absl::StatusOr<std::string> source = ReadFile(FLAGS_chat_template);
    if (!source.ok()) {
      return WithHint(Annotate(source.status(), "--chat_template"),
                      "want a .jinja file, or chatml, which is built in");
    }
    encode.chat_template = *std::move(source);
  } else {
    encode.chat_template = FLAGS_chat_template;
  }
  if (!FLAGS_chat_template_kwargs.empty()) {
    const auto variables = data::jinja::ParseJson(FLAGS_chat_template_kwargs);
    if (!variables.ok()) {
      return UserError("--chat_template_kwargs",
                       absl::StrCat("want a JSON object, got ", FLAGS_chat_template_kwargs, ": ",
                                    variables.status().message()),
                       "for example {\"enable_thinking\": false}");
    }
    if (!variables->is_dict()) {
      return UserError("--chat_template_kwargs",
                       absl::StrCat("want a JSON object, got ", FLAGS_chat_template_kwargs),
                       "for example {\"enable_thinking\": false}");
    }
    encode.template_variables = *variables;
  }
  encode.pair_template = FLAGS_pair_template;
  encode.append_eos = FLAGS_append_eos;
  return ReadTemplateDate(options);
}

absl::Status ReadLengthFlags(DataOptions* options) {
  using data::LongDocuments;
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  options->length.max_seq_length = FLAGS_max_seq_length;
  RETURN_IF_ERROR(CheckRange("max_seq_length", FLAGS_max_seq_length, 2, 1 << 24));
  ASSIGN_OR_RETURN(options->length.long_documents,
                   Choice<LongDocuments>("long_documents", FLAGS_long_documents,
                                         {{"truncate", LongDocuments::kTruncate},
                                          {"split", LongDocuments::kSplit},
                                          {"drop", LongDocuments::kDrop},
                                          {"refuse", LongDocuments::kRefuse}}));
  options->global_batch_size = FLAGS_global_batch_size;
  RETURN_IF_ERROR(CheckRange("global_batch_size", FLAGS_global_batch_size, 1, kInfinity));
  ASSIGN_OR_RETURN(options->tokens_per_pack,
                   OptionalInteger("tokens_per_pack", FLAGS_tokens_per_pack));
  return CheckRange("tokens_per_pack", options->tokens_per_pack.value_or(64), 2, 1 << 24);
}

}  // namespace

absl::StatusOr<DataOptions> ReadDataFlags() {
  DataOptions options;
  RETURN_IF_ERROR(ReadEncodeFlags(&options));
  RETURN_IF_ERROR(ReadLengthFlags(&options));
  RETURN_IF_ERROR(ReadFilesFlags(&options));
  return options;
}

absl::StatusOr<std::string> EmbeddedExample(const std::string& name) {
  std::error_code ignored;  // without a current folder there is nothing to find in it
  char executable[4096];
  const ssize_t length = readlink("/proc/self/exe", executable, sizeof(executable));
  const std::string beside = absl::StrCat(
      absl::string_view(executable, std::max<ssize_t>(length, 0)), ".runfiles/lockstep");
  for (const std::string& root : {beside, EnvironmentOr("RUNFILES_DIR", beside) + "/lockstep",
                                  std::filesystem::current_path(ignored).string()}) {
    const std::string path = JoinPath(root, JoinPath("examples", name));
    if (FileExists(path)) return path;
  }
  return UserError("examples", absl::StrCat("the embedded example is not at ", beside, "/examples"),
                   "start the program with bazel run //trainer:train, or give --model and "
                   "--train_file");
}

std::string ShownPath(absl::string_view path) {
  constexpr absl::string_view kRunfiles = ".runfiles/lockstep/";
  const size_t at = path.rfind(kRunfiles);
  return std::string(at == absl::string_view::npos ? path : path.substr(at + kRunfiles.size()));
}

}  // namespace lockstep
