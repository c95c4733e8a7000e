#include "trainer/flags/flag_table.h"

#include <gflags/gflags.h>

#include <cstdio>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "trainer/flags/help.h"
#include "trainer/flags/parse_flags.h"

DECLARE_bool(help);
DECLARE_bool(helpfull);
DECLARE_bool(helpshort);

namespace lockstep {
namespace {

// Files and folders where they are, from whichever folder the flags are read again.
std::string WithAbsolutePaths(const gflags::CommandLineFlagInfo& info) {
  static const auto* names = new std::set<std::string>{
      "model", "train_file", "validation_file", "init_adapter", "chat_template", "cache_dir"};
  if (names->count(info.name) == 0) return info.current_value;
  return absl::StrJoin(absl::StrSplit(info.current_value, ','), ",",
                       [](std::string* out, absl::string_view path) {
                         std::error_code error;  // "chatml", "-" are no files
                         const bool is_path = std::filesystem::exists(std::string(path), error);
                         out->append(is_path ? std::filesystem::absolute(std::string(path)).string()
                                             : std::string(path));
                       });
}

// Calls body(info, changes_result) for each flag of each group.
template <typename Body>
void ForEachFlag(const Body& body) {
  for (const FlagGroup& group : FlagGroups()) {
    for (const char* flag : group.flags) {
      const bool changes_result = *flag != '*';
      body(FlagInfo(flag + !changes_result), changes_result);
    }
  }
}

}  // namespace

const std::vector<FlagGroup>& FlagGroups() {
  static const auto* groups = new std::vector<FlagGroup>{
      {"Model and data", {"*model", "*train_file", "*validation_file", "validation_split"}},
      {"What is trained",
       {"train", "init", "*init_adapter", "lora_r", "lora_alpha", "lora_dropout",
        "lora_target_modules", "use_rslora", "use_dora", "init_lora_weights", "layers_to_transform",
        "rank_pattern", "alpha_pattern", "modules_to_save", "loraplus_lr_ratio"}},
      {"How far",
       {"num_train_epochs", "max_steps", "global_batch_size", "seed", "early_stopping_patience"}},
      {"Optimizer",
       {"learning_rate", "lr_scheduler_type", "min_lr_rate", "warmup_steps", "warmup_ratio",
        "weight_decay", "adam_beta1", "adam_beta2", "adam_epsilon", "max_grad_norm"}},
      {"Documents",
       {"format", "columns", "loss_on", "max_seq_length", "long_documents", "tokens_per_pack",
        "*chat_template", "chat_template_kwargs", "template_date", "system_prompt", "pair_template",
        "history", "append_eos", "skip_bad_documents", "*cache_dir"}},
      {"Output",
       {"*output_dir", "*run_name", "*logging_steps", "eval_steps", "*save_steps",
        "*save_total_limit", "*resume_from_checkpoint", "*on_nonfinite", "*on_spike",
        "*on_zero_loss", "*profile_steps"}},
      {"Arithmetic and memory", {"device", "dtype", "base_dtype", "*gradient_checkpointing"}},
      {"Ranks",
       {"*nproc_per_node", "*nnodes", "*node_rank", "*master_addr", "*master_port", "gradient_sum",
        "*bucket_cap_mb", "*num_threads", "*stall_timeout", "*max_restarts"}},
      {"Instead of training, or before it", {"*dry_run", "*verify", "*version"}},
  };
  return *groups;
}

std::string HelpText(int width) {
  std::string text =
      "Fine-tunes a language model with LoRA, on one or many ranks, with the same result.\n"
      "\n"
      "  train                                      trains the example that comes with it\n"
      "  train --model=DIR --train_file=DATA.jsonl  trains yours\n"
      "\n"
      "Also: --flagfile=FILE reads flags from a file, one a line; every run writes its own\n"
      "as run.flags.\n";
  for (const FlagGroup& group : FlagGroups()) {
    absl::StrAppend(&text, "\n", group.title, "\n");
    for (const char* flag : group.flags) {
      absl::StrAppend(&text, FlagHelp(FlagInfo(flag + (*flag == '*')), width));
    }
  }
  return text;
}

bool PrintedHelp() {
  if (!FLAGS_help && !FLAGS_helpfull && !FLAGS_helpshort) return false;
  std::fputs(HelpText(HelpWidth()).c_str(), stdout);
  return true;
}

FlagValues RunFlags(const std::set<std::string>& without) {
  FlagValues flags;
  ForEachFlag([&](const gflags::CommandLineFlagInfo& info, bool) {
    // How this start differs from the run, which goes on by itself.
    static const auto* one_off =
        new std::set<std::string>{"dry_run", "verify", "version", "resume_from_checkpoint"};
    const bool left_out = one_off->count(info.name) > 0 || without.count(info.name) > 0;
    if (left_out || info.current_value.empty()) return;
    flags.push_back({info.name, WithAbsolutePaths(info)});
  });
  return flags;
}

std::map<std::string, std::string> ResultFlags(const std::set<std::string>& without) {
  std::map<std::string, std::string> values;
  ForEachFlag([&](const gflags::CommandLineFlagInfo& info, bool changes_result) {
    if (changes_result && without.count(info.name) == 0) values[info.name] = info.current_value;
  });
  return values;
}

const std::map<std::string, std::string>& ForeignFlags() {
  static const char kBatch[] =
      "--global_batch_size counts the documents of a step over all ranks, whatever their number";
  static const char kAlways[] = "nothing to set: it is always so";
  static const char kReports[] =
      "metrics.jsonl, TensorBoard files and report.html are always written";
  static const char kAdamW[] = "AdamW is the optimizer; --adam_beta1 and its siblings set it up";
  static const char kStored[] =
      "--base_dtype is how the frozen weights are stored: fp32, bf16, or fp8, which is faster than "
      "bf16 but no smaller";
  static const char kReplicas[] =
      "every rank holds the model; --gradient_checkpointing and a smaller --max_seq_length or "
      "--tokens_per_pack save memory";
  static const char kFile[] = "--flagfile reads flags from a file, one a line";
  static const auto* flags = new std::map<std::string, std::string>{
      {"per_device_train_batch_size", kBatch},
      {"per_device_eval_batch_size", "evaluation packs documents by itself"},
      {"gradient_accumulation_steps", kBatch},
      {"batch_size", kBatch},
      {"micro_batch_size", kBatch},
      {"train_batch_size", kBatch},
      {"max_length", "--max_seq_length"},
      {"model_max_length", "--max_seq_length"},
      {"cutoff_len", "--max_seq_length"},
      {"sequence_len", "--max_seq_length"},
      {"bf16", "--dtype=bf16"},
      {"fp16", "--dtype=bf16 or --dtype=fp32"},
      {"tf32", "--dtype=fp32 or --dtype=bf16"},
      {"use_cpu", "--device=cpu"},
      {"no_cuda", "--device=cpu"},
      {"report_to", kReports},
      {"logging_dir", kReports},
      {"wandb_project", kReports},
      {"num_gpus", "--nproc_per_node"},
      {"gpus", "--nproc_per_node"},
      {"n_gpu", "--nproc_per_node"},
      {"num_processes", "--nproc_per_node"},
      {"world_size", "--nproc_per_node, and --nnodes for several machines"},
      {"model_name_or_path", "--model"},
      {"base_model", "--model"},
      {"dataset_name", "--train_file"},
      {"dataset", "--train_file"},
      {"data_path", "--train_file"},
      {"dataset_path", "--train_file"},
      {"data", "--train_file"},
      {"train_data", "--train_file"},
      {"train_dataset", "--train_file"},
      {"dataset_text_field", "--columns=text:NAME"},
      {"eval_file", "--validation_file"},
      {"val_file", "--validation_file"},
      {"valid_file", "--validation_file"},
      {"eval_dataset", "--validation_file"},
      {"test_file", "--validation_file"},
      {"test_size", "--validation_split"},
      {"val_set_size", "--validation_split"},
      {"lr", "--learning_rate"},
      {"gradient_clipping", "--max_grad_norm"},
      {"random_seed", "--seed"},
      {"epochs", "--num_train_epochs"},
      {"n_epochs", "--num_train_epochs"},
      {"num_epochs", "--num_train_epochs"},
      {"rank", "--lora_r for an adapter; ranks are started by --nproc_per_node"},
      {"r", "--lora_r"},
      {"target_modules", "--lora_target_modules"},
      {"bias", "biases are as in the model; --train=full trains them"},
      {"neftune_noise_alpha",
       "embeddings get no noise; --lora_dropout drops inputs of the adapter"},
      {"packing", kAlways},
      {"sample_packing", kAlways},
      {"padding_free", kAlways},
      {"group_by_length", kAlways},
      {"assistant_only_loss", "--loss_on=assistant"},
      {"completion_only_loss", "--loss_on=completion"},
      {"train_on_inputs", "--loss_on=all"},
      {"eval_strategy", "--eval_steps"},
      {"evaluation_strategy", "--eval_steps"},
      {"save_strategy", "--save_steps"},
      {"logging_strategy", "--logging_steps"},
      {"ddp_timeout", "--stall_timeout"},
      {"ddp_bucket_cap_mb", "--bucket_cap_mb"},
      {"optimizer", kAdamW},
      {"optim", kAdamW},
      {"load_in_4bit", kStored},
      {"load_in_8bit", kStored},
      {"quantization_bit", kStored},
      {"quantization", kStored},
      {"qlora", kStored},
      {"fsdp", kReplicas},
      {"deepspeed", kReplicas},
      {"config", kFile},
      {"config_file", kFile},
      {"yaml", kFile},
      {"use_flash_attention_2", kAlways},
      {"attn_implementation", kAlways},
      {"use_liger_kernel", kAlways},
      {"eval_on_start", kAlways},
      {"do_train", kAlways},
      {"do_eval", "--validation_file or --validation_split"},
      {"torch_dtype", "--dtype, and --base_dtype for the frozen weights"},
      {"dataloader_num_workers", "--num_threads"},
      {"local_rank", "--nproc_per_node starts ranks; of launchers the variables are read"},
      {"trust_remote_code", "nothing of a model's folder is executed"},
      {"load_best_model_at_end",
       "--early_stopping_patience keeps the best evaluation's parameters"},
      {"push_to_hub", "nothing is sent anywhere; hf upload does it"},
      {"overwrite_output_dir", "give another --output_dir; a run's folder is never overwritten"},
  };
  return *flags;
}

}  // namespace lockstep
