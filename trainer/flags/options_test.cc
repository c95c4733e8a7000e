#include "trainer/flags/options.h"

#include <gflags/gflags.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "trainer/flags/flag_table.h"
#include "trainer/flags/model_folder.h"

namespace lockstep {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Key;
using ::testing::Not;
using ::testing::Pair;

// Sets flags as the command line would and reads them; everything is as before afterwards.
absl::StatusOr<TrainOptions> Read(std::vector<std::string> flags) {
  gflags::FlagSaver saver;
  const std::string model = ::testing::TempDir() + "/model";
  EXPECT_TRUE(MakeDirectories(model).ok());
  flags.insert(flags.begin(), {"train", "--model=" + model, "--train_file=/data/a.jsonl"});
  std::vector<char*> argv;
  for (std::string& flag : flags) argv.push_back(flag.data());
  const absl::Status parsed = ParseTrainFlags(static_cast<int>(argv.size()), argv.data());
  if (!parsed.ok()) return parsed;
  return ReadTrainFlags();
}

TEST(OptionsTest, DefaultsAreThoseOfTheManual) {
  const auto options = Read({});
  ASSERT_TRUE(options.ok()) << options.status();
  EXPECT_EQ(options->model.lora->r, 16);
  EXPECT_EQ(options->model.lora->alpha, 32);
  EXPECT_TRUE(options->model.lora->target_modules.all_linear);
  EXPECT_EQ(options->optimizer.learning_rate, 2e-4);
  EXPECT_EQ(options->optimizer.lr_scheduler_type, nn::LrSchedulerType::kCosine);
  EXPECT_EQ(options->data.global_batch_size, 16);
  EXPECT_EQ(options->data.length.max_seq_length, 2048);
  EXPECT_EQ(options->data.validation_split, 0);
  EXPECT_EQ(options->seed, 42u);
  EXPECT_TRUE(options->in_lockstep());
  EXPECT_FALSE(options->max_steps.has_value());
  EXPECT_EQ(Read({"--train=full"})->reduction.sum, GradientSum::kFp32);
  EXPECT_EQ(Read({"--gradient_sum=bf16"})->reduction.sum, GradientSum::kBf16);
}

TEST(OptionsTest, OnlySumsThatDoNotDependOnTheRanksCanBeVerified) {
  EXPECT_TRUE(Read({"--verify"}).ok());
  for (const char* flag : {"--gradient_sum=fp32", "--train=full"}) {
    EXPECT_THAT(std::string(Read({"--verify", flag}).status().message()),
                AllOf(HasSubstr("--verify"), HasSubstr("HINT: --gradient_sum=exact")));
  }
}

TEST(OptionsTest, EveryFlagIsInOneGroupAndInTheHelp) {
  std::set<std::string> grouped;
  for (const FlagGroup& group : FlagGroups()) {
    for (const char* flag : group.flags) {
      EXPECT_TRUE(grouped.insert(flag + (*flag == '*')).second) << flag << " is there twice";
    }
  }
  std::vector<gflags::CommandLineFlagInfo> all;
  gflags::GetAllFlags(&all);
  const std::string help = HelpText(100);
  for (const gflags::CommandLineFlagInfo& flag : all) {
    if (!absl::StartsWith(flag.filename, "trainer/")) continue;
    EXPECT_EQ(grouped.count(flag.name), 1u) << flag.name << " is in no group";
    EXPECT_THAT(help, HasSubstr(absl::StrCat("  --", flag.name)));
  }
}

TEST(OptionsTest, ForeignNamesAreNoFlagsOfOurs) {
  gflags::CommandLineFlagInfo info;
  for (const auto& [name, hint] : ForeignFlags()) {
    const bool ours = gflags::GetCommandLineFlagInfo(name.c_str(), &info) &&
                      absl::StartsWith(info.filename, "trainer/");
    EXPECT_FALSE(ours) << name;
  }
  EXPECT_THAT(Read({"--gradient_accumulation_steps=2"}).status().message(),
              HasSubstr("HINT: --global_batch_size"));
}

void ExpectRunFlagsReadBack(const std::vector<std::string>& flags) {
  const auto options = Read(flags);
  ASSERT_TRUE(options.ok()) << options.status();
  const std::string path = ::testing::TempDir() + "/run.flags";
  ASSERT_TRUE(WriteFileAtomically(path, FlagFile(options->run_flags)).ok());
  const auto again = Read({"--flagfile=" + path});
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->identity, options->identity);
  EXPECT_EQ(again->run_flags, options->run_flags);
  EXPECT_NE(Read({})->run_flags, options->run_flags);
}

TEST(OptionsTest, RunFlagsReadBackToTheSameRun) {
  ExpectRunFlagsReadBack({"--learning_rate=0.1", "--lora_r=3", "--max_steps=7", "--noappend_eos",
                          "--system_prompt= two\nlines ",
                          "--pair_template={prompt}\n\n{completion}"});
  EXPECT_THAT(Read({"--lora_r=3"})->run_flags, Contains(Pair("lora_r", "3")));
}

// What describes a new adapter has no place in them: read back, it would contradict the run.
TEST(OptionsTest, RunFlagsOfARunWithoutANewAdapterReadBack) {
  ExpectRunFlagsReadBack({"--train=full"});
  EXPECT_THAT(Read({"--train=full"})->run_flags, Not(Contains(Key("lora_r"))));

  const std::string adapter = ::testing::TempDir() + "/adapter";
  ASSERT_TRUE(MakeDirectories(adapter).ok());
  ASSERT_TRUE(WriteFileAtomically(adapter + "/adapter_config.json",
                                  R"({"peft_type": "LORA", "r": 4, "lora_alpha": 8,
                                      "target_modules": ["q_proj"]})")
                  .ok());
  const std::string model = ::testing::TempDir() + "/model";
  ASSERT_TRUE(MakeDirectories(model).ok());
  ASSERT_TRUE(WriteFileAtomically(model + "/config.json",
                                  R"({"model_type": "llama", "hidden_size": 8, "vocab_size": 9,
                                      "intermediate_size": 16, "num_hidden_layers": 1,
                                      "num_attention_heads": 2, "rms_norm_eps": 1e-5,
                                      "max_position_embeddings": 64, "hidden_act": "silu"})")
                  .ok());
  ExpectRunFlagsReadBack({"--init_adapter=" + adapter});
  ExpectRunFlagsReadBack({"--init_adapter=" + adapter, "--lora_r=4"});
  for (const char* other : {"--lora_r=16", "--lora_alpha=5", "--lora_dropout=0.25", "--use_rslora",
                            "--lora_target_modules=o_proj"}) {
    const std::string flag(absl::string_view(other).substr(0, std::string(other).find('=')));
    EXPECT_THAT(Read({"--init_adapter=" + adapter, other}).status().message(),
                HasSubstr("[" + flag + "] the adapter in"));
  }
  // Its layers hold for names, not for whole paths; with the flags' default, all-linear, nothing
  // would be left.
  ASSERT_TRUE(WriteFileAtomically(adapter + "/adapter_config.json",
                                  R"({"peft_type": "LORA", "layers_to_transform": [5],
                                      "target_modules": ["model.layers.0.self_attn.q_proj"]})")
                  .ok());
  ExpectRunFlagsReadBack({"--init_adapter=" + adapter});
}

// A flag that would change nothing is one that its user is wrong about.
TEST(OptionsTest, FlagsWithoutEffectAreErrors) {
  EXPECT_THAT(Read({"--train=full", "--lora_r=8"}).status().message(),
              HasSubstr("[--lora_r] --train=full trains no adapter"));
  EXPECT_THAT(Read({"--min_lr_rate=0.1"}).status().message(),
              HasSubstr("[--min_lr_rate] --lr_scheduler_type=cosine takes none"));
  EXPECT_TRUE(Read({"--min_lr_rate=0.1", "--lr_scheduler_type=cosine_with_min_lr"}).ok());
  EXPECT_THAT(Read({"--early_stopping_patience=2"}).status().message(),
              HasSubstr("[--early_stopping_patience] there are no documents to evaluate on"));
  EXPECT_TRUE(Read({"--early_stopping_patience=2", "--validation_split=0.1"}).ok());
}

TEST(OptionsTest, RunFlagsNameFilesFromAnywhere) {
  const std::string home = std::filesystem::current_path();
  std::filesystem::current_path(::testing::TempDir());
  ASSERT_TRUE(WriteFileAtomically("a.jsonl", "{}").ok());
  ASSERT_TRUE(WriteFileAtomically("b.jsonl", "{}").ok());
  const auto options = Read({"--train_file=a.jsonl, b.jsonl", "--chat_template=chatml"});
  std::filesystem::current_path(home);
  ASSERT_TRUE(options.ok()) << options.status();
  const std::string folder = std::filesystem::absolute(::testing::TempDir()).lexically_normal();
  EXPECT_THAT(options->run_flags,
              Contains(Pair("train_file", absl::StrCat(JoinPath(folder, "a.jsonl"), ",",
                                                       JoinPath(folder, "b.jsonl")))));
  EXPECT_THAT(options->run_flags, Contains(Pair("chat_template", "chatml")));
  EXPECT_THAT(options->run_flags, Not(Contains(Pair("resume_from_checkpoint", ::testing::_))))
      << "how one start began is no part of the run";
}

TEST(OptionsTest, RanksAndReportsAreNoPartOfARunsIdentity) {
  const auto plain = Read({});
  const auto other = Read({"--nproc_per_node=3", "--bucket_cap_mb=1", "--stall_timeout=9",
                           "--logging_steps=5", "--save_steps=7", "--num_threads=2"});
  ASSERT_TRUE(other.ok()) << other.status();
  EXPECT_EQ(plain->identity, other->identity);
}

TEST(OptionsTest, RelativePathsStartWhereTheUserIs) {
  setenv("BUILD_WORKING_DIRECTORY", "/home/someone", 1);
  const auto options = Read({"--train_file=a.jsonl, /b.jsonl", "--output_dir=out"});
  unsetenv("BUILD_WORKING_DIRECTORY");
  ASSERT_TRUE(options.ok()) << options.status();
  EXPECT_THAT(options->data.train_files,
              ::testing::ElementsAre("/home/someone/a.jsonl", "/b.jsonl"));
  EXPECT_EQ(options->output_dir, "/home/someone/out");
}

TEST(OptionsTest, VariantsOfLora) {
  const auto options = Read({"--use_dora", "--init_lora_weights=pissa", "--layers_to_transform=0,2",
                             "--rank_pattern={\"q_proj\": 4, \".*\": 2}",
                             "--modules_to_save=lm_head", "--loraplus_lr_ratio=16"});
  ASSERT_TRUE(options.ok()) << options.status();
  const nn::LoraConfig& lora = *options->model.lora;
  EXPECT_TRUE(lora.use_dora);
  EXPECT_EQ(lora.init, nn::LoraInit::kPissa);
  EXPECT_THAT(lora.layers_to_transform, ::testing::ElementsAre(0, 2));
  EXPECT_EQ(lora.rank_pattern[0], (std::pair<std::string, int64_t>("q_proj", 4)));
  EXPECT_THAT(lora.modules_to_save, ::testing::ElementsAre("lm_head"));
  EXPECT_EQ(lora.loraplus_lr_ratio, 16);
  EXPECT_THAT(Read({"--rank_pattern=q_proj:4"}).status().message(),
              HasSubstr("[--rank_pattern] want a JSON object of numbers"));
  EXPECT_THAT(Read({"--train=full", "--use_dora"}).status().message(), HasSubstr("--use_dora"));
}

// The best evaluation's parameters are the result, so that it counts which ones there are.
TEST(OptionsTest, StepsBetweenEvaluationsDecideTheResultOfEarlyStopping) {
  const auto identity = [](std::vector<std::string> flags) {
    flags.push_back("--validation_split=0.1");
    return Read(flags)->identity;
  };
  EXPECT_EQ(identity({"--eval_steps=1"}), identity({"--eval_steps=2"}));
  EXPECT_NE(identity({"--eval_steps=1", "--early_stopping_patience=1"}),
            identity({"--eval_steps=2", "--early_stopping_patience=1"}));
}

TEST(OptionsTest, WhatAnotherFlagBeatsDecidesNothing) {
  const auto identity = [](std::vector<std::string> flags) { return Read(flags)->identity; };
  EXPECT_EQ(identity({"--max_steps=5", "--num_train_epochs=1"}),
            identity({"--max_steps=5", "--num_train_epochs=2"}));
  EXPECT_NE(identity({"--num_train_epochs=1"}), identity({"--num_train_epochs=2"}));
  EXPECT_EQ(identity({"--warmup_steps=5", "--warmup_ratio=0.1"}),
            identity({"--warmup_steps=5", "--warmup_ratio=0.2"}));
  EXPECT_NE(identity({"--warmup_ratio=0.1"}), identity({"--warmup_ratio=0.2"}));
}

TEST(OptionsTest, FrozenWeightsInOtherTypes) {
  const auto options = Read({"--device=cpu", "--base_dtype=fp8"});
  ASSERT_TRUE(options.ok()) << options.status();
  EXPECT_TRUE(options->model.fp8_linear);
  EXPECT_EQ(options->model.base_dtype, DType::kF32);
  EXPECT_FALSE(Read({"--device=cpu", "--base_dtype=bf16"})->model.fp8_linear);
  EXPECT_NE(options->identity, Read({"--device=cpu"})->identity) << "another run: not resumed";
  EXPECT_THAT(Read({"--base_dtype=nf4"}).status().message(), HasSubstr("fp8"));
  EXPECT_THAT(Read({"--device=cpu", "--base_dtype=fp8", "--train=full"}).status().message(),
              HasSubstr("want frozen linear layers"));
  EXPECT_THAT(Read({"--device=cuda", "--dtype=fp32", "--base_dtype=fp8"}).status().message(),
              AllOf(HasSubstr("bf16"), HasSubstr("HINT")));
}

TEST(OptionsTest, WrongValuesAreNamed) {
  EXPECT_THAT(
      Read({"--lora_dropout=1"}).status().message(),
      HasSubstr("[--lora_dropout] want 0 to 0.99, got 1\nHINT: Share of the adapter's inputs"));
  EXPECT_THAT(Read({"--learning_rate=inf"}).status().message(),
              HasSubstr("[--learning_rate] want 0 to 1e+30, got inf"));
  EXPECT_THAT(Read({"--max_grad_norm=inf"}).status().message(),
              HasSubstr("[--max_grad_norm] want at least 0, got inf"));
  EXPECT_THAT(Read({"--adam_epsilon=0"}).status().message(),
              HasSubstr("[--adam_epsilon] want 1e-20 to 1, got 0"));
  EXPECT_THAT(Read({"--validation_split=lots"}).status().message(),
              HasSubstr("[--validation_split] want a number, got \"lots\""));
  EXPECT_THAT(Read({"--validation_split=0.1", "--validation_file=v.jsonl"}).status().message(),
              HasSubstr("--validation_file is given too"));
  EXPECT_THAT(Read({"--nproc_per_node=0"}).status().message(),
              HasSubstr("[--nproc_per_node] want 1 to 1024, got 0"));
  EXPECT_THAT(Read({"--columns=x"}).status().message(), HasSubstr("columns"));
}

TEST(FindModelFolderTest, HubIdsAreLookedUpInTheLocalCache) {
  const std::string hub = ::testing::TempDir() + "/hub";
  const std::string repository = hub + "/models--some--model";
  ASSERT_TRUE(MakeDirectories(repository + "/snapshots/abc").ok());
  ASSERT_TRUE(MakeDirectories(repository + "/refs").ok());
  ASSERT_TRUE(WriteFileAtomically(repository + "/refs/main", "abc").ok());
  setenv("HF_HUB_CACHE", hub.c_str(), 1);
  EXPECT_EQ(FindModelFolder("some/model").value_or(""), repository + "/snapshots/abc");
  const auto options = Read({"--model=some/model"});
  ASSERT_TRUE(options.ok()) << options.status();
  EXPECT_EQ(options->data.model, repository + "/snapshots/abc");
  EXPECT_EQ(options->data.model_name, "some/model");
  // As run.flags names it: the same run calls its model the same.
  EXPECT_EQ(Read({"--model=" + options->data.model + "/"})->data.model_name, "some/model");
  EXPECT_EQ(ModelName("/hub/models--gpt2/snapshots/abc"), "gpt2");
  EXPECT_EQ(ModelName("/models/snapshots/abc"), "/models/snapshots/abc");
  EXPECT_THAT(FindModelFolder("some/other").status().message(),
              HasSubstr("hf download some/other"));
  EXPECT_THAT(FindModelFolder("./nowhere").status().message(), HasSubstr("no folder"));
  EXPECT_THAT(FindModelFolder("some/model@v1").status().message(), HasSubstr("no folder"));
  // The variable's older name, which the newer one goes before, and both before HF_HOME.
  setenv("HUGGINGFACE_HUB_CACHE", "/nowhere", 1);
  setenv("HF_HOME", "/nowhere", 1);
  EXPECT_EQ(FindModelFolder("some/model").value_or(""), repository + "/snapshots/abc");
  unsetenv("HF_HUB_CACHE");
  setenv("HUGGINGFACE_HUB_CACHE", hub.c_str(), 1);
  EXPECT_EQ(FindModelFolder("some/model").value_or(""), repository + "/snapshots/abc");
  unsetenv("HUGGINGFACE_HUB_CACHE");
  // Where nothing else is said, under the user's caches, as huggingface_hub has it.
  const std::string caches = ::testing::TempDir() + "/caches";
  ASSERT_TRUE(MakeDirectories(caches + "/huggingface").ok());
  std::filesystem::create_symlink(hub, caches + "/huggingface/hub");
  unsetenv("HF_HOME");
  setenv("XDG_CACHE_HOME", caches.c_str(), 1);
  EXPECT_EQ(FindModelFolder("some/model").value_or(""),
            caches + "/huggingface/hub/models--some--model/snapshots/abc");
  unsetenv("XDG_CACHE_HOME");
}

}  // namespace
}  // namespace lockstep
