// What users and their files do wrong: one paragraph that names the place, what was wanted and what
// was got, with a HINT; exit code 1; nothing left behind.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "base/file.h"
#include "tests/tiny_model.h"
#include "tests/trainer_process.h"

namespace lockstep {
namespace {

using ::testing::HasSubstr;
using Flags = std::vector<std::string>;

class BadInputTest : public ::testing::Test {
 protected:
  void SetUp() override {
    model_ = FreshPath("model");
    documents_ = FreshPath("documents") + ".jsonl";
    folder_ = FreshPath("run");
    WriteTinyModel(model_);
    WriteUnevenDocuments(documents_, 20, 60);
  }

  // Runs with the fixture's model, documents and folder, and `more`, which wins.
  Outcome Run(const Flags& more = {}) {
    Flags flags = {"--model=" + model_, "--train_file=" + documents_, "--output_dir=" + folder_,
                   "--max_steps=1", "--nproc_per_node=2"};
    flags.insert(flags.end(), more.begin(), more.end());
    return Train(flags);
  }

  // Exit code 1, one short paragraph that has all of `parts` and a HINT, and no output folder.
  void ExpectRefused(const Flags& more, const std::vector<std::string>& parts) {
    const Outcome outcome = Run(more);
    EXPECT_EQ(outcome.exit_code, 1) << outcome.out << outcome.err;
    for (const std::string& part : parts) EXPECT_THAT(outcome.err, HasSubstr(part));
    EXPECT_THAT(outcome.err, HasSubstr("\nHINT: "));
    EXPECT_LE(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 15) << outcome.err;
    EXPECT_FALSE(FileExists(folder_)) << "a refused run has made its output folder";
  }

  void WriteDocuments(const std::string& text) {
    ASSERT_TRUE(WriteFileAtomically(documents_, text).ok());
  }
  void WriteModelFile(const std::string& name, const std::string& text) {
    ASSERT_TRUE(WriteFileAtomically(model_ + "/" + name, text).ok());
  }

  std::string model_, documents_, folder_;
};

TEST_F(BadInputTest, TheFixtureItselfIsFine) {
  const Outcome outcome = Run();
  EXPECT_EQ(outcome.exit_code, 0) << outcome.out << outcome.err;
}

TEST_F(BadInputTest, Flags) {
  ExpectRefused({"--learning_rat=1"},
                {"no flag --learning_rat", "HINT: did you mean --learning_rate"});
  ExpectRefused({"--lora_r=many"}, {"--lora_r", "want a whole number", "\"many\""});
  ExpectRefused({"--lora_r=0"}, {"[--lora_r] want 1 to 4096, got 0"});
  ExpectRefused({"--max_steps=-3"}, {"[--max_steps] want at least 1, got -3"});
  ExpectRefused({"--warmup_steps=few"}, {"[--warmup_steps] want a whole number, got \"few\""});
  ExpectRefused({"--lr_scheduler_type=square"},
                {"--lr_scheduler_type", "want one of linear, cosine"});
  ExpectRefused({"stray"}, {"\"stray\"", "HINT"});
  ExpectRefused({"--output_dir=", "--run_name=.."}, {"[--run_name]", "got ..", "--output_dir"});
  ExpectRefused({"--init=random"}, {"[--init=random]", "HINT: add --train=full"});
}

TEST_F(BadInputTest, NamesFromElsewhere) {
  ExpectRefused({"--per_device_train_batch_size=4"}, {"HINT: --global_batch_size"});
  ExpectRefused({"--gradient_accumulation_steps=4"}, {"HINT: --global_batch_size"});
  ExpectRefused({"--max_length=4"}, {"HINT: --max_seq_length"});
  ExpectRefused({"--bf16"}, {"HINT: --dtype=bf16"});
  ExpectRefused({"--report_to=none"}, {"HINT: metrics.jsonl"});
  ExpectRefused({"--load_best_model_at_end"}, {"HINT: --early_stopping_patience"});
  ExpectRefused({"--torch_dtype=bfloat16"}, {"HINT: --dtype"});
  ExpectRefused({"--num_gpus=2"}, {"HINT: --nproc_per_node"});
  ExpectRefused({"--base_model=m"}, {"HINT: --model"});
  ExpectRefused({"--gradient_clipping=1"}, {"HINT: --max_grad_norm"});
}

TEST_F(BadInputTest, Documents) {
  const std::string good = "{\"input_ids\":[1,2,3]}\n";
  WriteDocuments(good + "{\"input_ids\":[1,2\n");
  ExpectRefused({}, {documents_ + ":2", "byte"});
  WriteDocuments(good + good + "{\"input_ids\":[1,97]}\n");
  ExpectRefused({}, {documents_ + ":3", "97"});
  WriteDocuments(good + "{\"text\":\"words\"}\n");
  ExpectRefused({}, {documents_ + ":2"});
  WriteDocuments(good + "{\"input_ids\":[1,2],\"labels\":[1]}\n");
  ExpectRefused({}, {documents_ + ":2"});
  WriteDocuments("");
  ExpectRefused({}, {documents_, "HINT"});
  WriteDocuments("{\"input_ids\":[1,2,3],\"labels\":[-100,-100,-100]}\n");
  ExpectRefused({}, {"supervised"});
  ExpectRefused({"--train_file=/nowhere.jsonl"}, {"/nowhere.jsonl", "No such file"});
  WriteDocuments("{\"text\":\"words\"}\n");
  ExpectRefused({}, {"no tokenizer.json", "HINT: fetch the model's tokenizer.json"});
}

// Each bad document stands behind a good one of the same format.
TEST_F(BadInputTest, EveryKindOfBadDocument) {
  const std::pair<const char*, std::vector<std::string>> cases[] = {
      {"{\"input_ids\":[1,2],}", {":2", "byte 20"}},
      {"{\"input_ids\":[1,\"2\"]}", {":2", "input_ids[1]"}},
      {"{\"input_ids\":{\"1\":2}}", {":2", "want lists of integers"}},
      {"{\"input_ids\":[1,-2]}", {":2", "got -2"}},
      {"{\"input_ids\":[1,1e999]}", {":2", "byte", "out of range"}},
      {"{\"input_ids\":[1,99999999999999999999999999999999999999999]}", {":2", "out of range"}},
      {"{\"input_ids\":[1,2],\"input_ids\":[3,4]}", {":2", "byte", "twice"}},
      {"{\"input_ids\":[1,2],\"x\":\"\xff\"}", {":2", "byte", "UTF-8"}},
      {"{\"input_ids\":[1,2],\"x\":\"\\ud800\"}", {":2", "byte", "surrogate"}},
      {"{\"input_ids\":[1,2],\"x\":\"\t\"}", {":2", "byte", "control character"}},
      {"[1,2]", {":2", "want a JSON object"}},
  };
  for (const auto& [line, parts] : cases) {
    SCOPED_TRACE(line);
    WriteDocuments(std::string("{\"input_ids\":[1,2,3]}\n") + line + "\n");
    std::vector<std::string> all = parts;
    all.push_back("HINT: ");
    ExpectRefused({}, all);
  }
  WriteDocuments(std::string("{\"input_ids\":[1,2,3]}\n\0\0\n", 26));
  ExpectRefused({}, {documents_ + ":2", "byte 1", "HINT: "});
  WriteDocuments("{\"input_ids\":[1,2,3]}\n{\"x\":\"" + std::string(20 << 20, 'x') + "\xff\"}\n");
  ExpectRefused({}, {documents_ + ":2", "byte 20971527", "HINT: "});
  WriteDocuments("\n \n");
  ExpectRefused({}, {documents_, "want at least one document", "HINT: "});
  ExpectRefused({"--train_file=" + model_}, {model_, "got a folder", "HINT: "});
}

TEST_F(BadInputTest, MarksAndLineEndsOfOtherSystemsAreFine) {
  const std::string line = "{\"input_ids\":[1,2,3]}\r\n";
  WriteDocuments("\xEF\xBB\xBF" + line + line);
  const Outcome outcome = Run();
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
}

TEST_F(BadInputTest, DataFlags) {
  ExpectRefused({"--template_date=tomorrow"}, {"--template_date", "YYYY-MM-DD", "HINT: "});
  ExpectRefused({"--template_date=2026-02-30"}, {"--template_date", "2026-02-30", "HINT: "});
  ExpectRefused({"--chat_template_kwargs=[1]"}, {"--chat_template_kwargs", "[1]", "HINT: "});
  ExpectRefused({"--chat_template_kwargs={x"}, {"--chat_template_kwargs", "byte", "HINT: "});
  ExpectRefused({"--chat_template=/nowhere.jinja"}, {"--chat_template", "/nowhere", "HINT: "});
  ExpectRefused({"--pair_template=x"}, {"--pair_template", "{completion}", "HINT: "});
  ExpectRefused({"--columns=prompt"}, {"--columns", "ours:theirs", "HINT: "});
  ExpectRefused({"--columns=text:nosuch"}, {"--columns=text:nosuch", "got input_ids", "HINT: "});
  ExpectRefused({"--format=csv"}, {"--format", "csv", "HINT: "});
  ExpectRefused({"--history=never"}, {"--history", "per_turn", "HINT: "});
  ExpectRefused({"--long_documents=burn"}, {"--long_documents", "truncate", "HINT: "});
  ExpectRefused({"--long_documents=refuse", "--max_seq_length=10"},
                {documents_, "want at most 10 tokens", "HINT: "});
}

// A run that goes on sees the day on which it began.
TEST_F(BadInputTest, TheTemplateDateIsKept) {
  const Outcome first = Run({"--template_date=2020-02-29", "--max_steps=2"});
  ASSERT_EQ(first.exit_code, 0) << first.err;
  EXPECT_THAT(ReadFile(folder_ + "/run.flags").value_or(""),
              HasSubstr("--template_date=2020-02-29\n"));
  const Outcome again = Run({"--max_steps=2"});
  EXPECT_EQ(again.exit_code, 0) << again.err;
  EXPECT_THAT(again.out, HasSubstr("finished"));
}

TEST_F(BadInputTest, BadDocumentsCanBeSkipped) {
  WriteDocuments("{\"input_ids\":[1,2,3]}\n{\"input_ids\":[1,\n{\"input_ids\":[4,5,6]}\n");
  const Outcome outcome = Run({"--skip_bad_documents"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("skipped as bad"));
  // Those of a validation file are counted and listed, too.
  const std::string held = FreshPath("held") + ".jsonl";
  ASSERT_TRUE(WriteFileAtomically(held, "{\"input_ids\":[1,2,7]}\n{\"input_ids\":[1,\n").ok());
  folder_ = FreshPath("held_out");
  const Outcome evaluates = Run({"--skip_bad_documents", "--validation_file=" + held});
  EXPECT_EQ(evaluates.exit_code, 0) << evaluates.err;
  EXPECT_THAT(evaluates.out, HasSubstr("evaluation: 1"));
  EXPECT_THAT(evaluates.out, HasSubstr("skipped: [" + held + ":2]"));
}

TEST_F(BadInputTest, Model) {
  ExpectRefused({"--model=/nowhere"}, {"--model", "/nowhere", "HINT"});
  ExpectRefused({"--model=someone/something"}, {"someone/something", "HINT", "hf download"});

  const std::string config = ReadFile(model_ + "/config.json").value_or("");
  WriteModelFile("config.json", "{");
  ExpectRefused({}, {"config.json", "not JSON: it ends too early, at byte 1"});
  const auto replaced = [&](const std::string& from, const std::string& to) {
    std::string text = config;
    return text.replace(text.find(from), from.size(), to);
  };
  WriteModelFile("config.json", replaced("\"llama\"", "\"bloom\""));
  ExpectRefused({}, {"config.json", "bloom"});
  WriteModelFile("config.json", replaced("\"hidden_size\":32", "\"hidden_size\":64"));
  ExpectRefused({}, {"config.json", "[97, 64]", "[97, 32]", "HINT"});
  WriteModelFile("config.json",
                 replaced("{", "{\"rope_scaling\":{\"rope_type\":\"spiral\",\"factor\":2},"));
  ExpectRefused({}, {"config.json", "rope_type", "\"spiral\" is not supported"});
  WriteModelFile("config.json", config);

  WriteModelFile("chat_template.jinja", "{% for message in messages %}");
  ExpectRefused({}, {"chat_template line 1", "HINT: mend the template", "--chat_template"});
  WriteModelFile("chat_template.jinja", "");
  WriteModelFile("tokenizer_config.json", "{");
  ExpectRefused({}, {"tokenizer_config.json", "not JSON", "HINT: the file is damaged"});
  WriteModelFile("tokenizer_config.json", "{}");

  const std::string weights = ReadFile(model_ + "/model.safetensors").value_or("");
  WriteModelFile("model.safetensors", weights.substr(0, weights.size() - 7));
  ExpectRefused({}, {"model.safetensors"});
  WriteModelFile("model.safetensors", weights.substr(0, 5));
  ExpectRefused({}, {"model.safetensors", "want at least 8 bytes, got 5"});
  WriteModelFile("model.safetensors", std::string("\xff\xff\xff\xff\xff\xff\xff\x7f", 8) + weights);
  ExpectRefused({}, {"model.safetensors", "9223372036854775807"});
  WriteModelFile("model.safetensors", "version https://git-lfs.github.com/spec/v1\noid sha256:0\n");
  ExpectRefused({}, {"model.safetensors", "HINT: this is a pointer of Git LFS: git lfs pull"});
  // A header that says more, or something else, than the file holds.
  std::string lying = weights;
  lying.replace(lying.find("[97,32]"), 7, "[97,33]");
  WriteModelFile("model.safetensors", lying);
  ExpectRefused({}, {"model.safetensors", "[97, 33]", "bytes"});
  lying = weights;
  lying.replace(lying.find("\"F32\""), 5, "\"F16\"");
  WriteModelFile("model.safetensors", lying);
  ExpectRefused({}, {"model.safetensors", "F16", "bytes"});
}

TEST_F(BadInputTest, AMissingShardIsNamed) {
  WriteModelFile("model.safetensors.index.json",
                 R"({"weight_map":{"model.norm.weight":"model-00001-of-00002.safetensors"}})");
  ASSERT_EQ(remove((model_ + "/model.safetensors").c_str()), 0);
  ExpectRefused({}, {"model-00001-of-00002.safetensors", "HINT: the download is incomplete"});
}

TEST_F(BadInputTest, TargetModulesThatMatchNothing) {
  ExpectRefused({"--lora_target_modules=qq_proj"}, {"target_modules", "matches \"qq_proj\"\nHINT"});
  ExpectRefused({"--lora_target_modules=[\"q_proj\"]"}, {"[\"q_proj\"]\" (a regular expression)"});
}

// Legal, and yet hardly what was meant.
TEST_F(BadInputTest, AdaptersThatMayDisappoint) {
  const Outcome outcome =
      Run({"--lora_target_modules=q_proj,v_porj", "--rank_pattern={\"q_proj\":2}",
           "--layers_to_transform=0,7", "--lr_scheduler_type=constant", "--warmup_steps=2"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("note: target_modules: no adapter is at \"v_porj\""));
  EXPECT_THAT(outcome.out, HasSubstr("note: layers_to_transform: no adapter is at \"layer 7\""));
  EXPECT_THAT(outcome.out, HasSubstr("note: --lr_scheduler_type=constant has no warm-up"));
  EXPECT_THAT(outcome.out, HasSubstr("note: vLLM does not apply an adapter's rank_pattern;"));
}

// Flags may repeat what the initial adapter says, in other words too; they may not contradict it.
TEST_F(BadInputTest, FlagsBesideAnInitialAdapter) {
  const Flags variant = {"--lora_r=4",
                         "--lora_target_modules=q_proj,v_proj",
                         "--use_dora",
                         "--rank_pattern={\"q_proj\":2}",
                         "--layers_to_transform=1,0",
                         "--modules_to_save=lm_head"};
  ASSERT_EQ(Run(variant).exit_code, 0);
  const std::string adapter = std::move(folder_);
  folder_ = FreshPath("second");
  const std::string init = "--init_adapter=" + adapter;
  ExpectRefused({init, "--lora_r=8"}, {"[--lora_r]", "has 4, got 8"});
  ExpectRefused({init, "--lora_target_modules=all-linear"}, {"[--lora_target_modules]"});
  ExpectRefused({init, "--use_dora=false"}, {"[--use_dora]", "has true, got false"});
  ExpectRefused({init, "--rank_pattern={\"v_proj\":2}"}, {"[--rank_pattern]"});
  ExpectRefused({init, "--layers_to_transform=1"}, {"[--layers_to_transform]"});
  ExpectRefused({init, "--modules_to_save=embed_tokens"}, {"[--modules_to_save]"});
  ExpectRefused({init, "--init_lora_weights=gaussian"}, {"has true, got gaussian"});
  ExpectRefused({"--init_adapter=/nowhere"}, {"/nowhere/adapter_config.json"});
  const Outcome same = Run({init, "--lora_r=4", "--lora_target_modules=v_proj,q_proj", "--use_dora",
                            "--rank_pattern={\".*q_proj\": 2}", "--layers_to_transform=0,1",
                            "--modules_to_save=lm_head", "--init_lora_weights=true"});
  EXPECT_EQ(same.exit_code, 0) << same.err;
  const std::string adapter_of_same = ReadFile(folder_ + "/adapter_model.safetensors").value_or("");
  // LoRA+ is the optimizer's, not the adapter's.
  folder_ = FreshPath("plus");
  const Outcome plus = Run({init, "--loraplus_lr_ratio=16"});
  EXPECT_EQ(plus.exit_code, 0) << plus.err;
  EXPECT_TRUE(ReadFile(folder_ + "/adapter_model.safetensors").value_or("") != adapter_of_same);
  EXPECT_THAT(ReadFile(folder_ + "/run.flags").value_or(""), HasSubstr("--loraplus_lr_ratio=16\n"));
  // A rank that no memory holds: the file's shapes are looked at first.
  const std::string config = adapter + "/adapter_config.json";
  std::string text = ReadFile(config).value_or("");
  text.replace(text.find("\"r\": 4"), 6, "\"r\": 2147483647");
  ASSERT_TRUE(WriteFileAtomically(config, text).ok());
  folder_ = FreshPath("third");
  ExpectRefused({init}, {"want [2147483647, 32], got [4, 32]"});
}

TEST_F(BadInputTest, OutputFolders) {
  // A folder of something else is left as it is.
  ASSERT_TRUE(MakeDirectories(folder_).ok());
  ASSERT_TRUE(WriteFileAtomically(folder_ + "/adapter_model.safetensors", "precious").ok());
  const Outcome taken = Run();
  EXPECT_EQ(taken.exit_code, 1);
  EXPECT_THAT(taken.err, HasSubstr("HINT: give another --output_dir"));
  EXPECT_EQ(ReadFile(folder_ + "/adapter_model.safetensors").value_or(""), "precious");
  EXPECT_FALSE(FileExists(folder_ + "/run.json"));
  // One that cannot be made: its parent is a file.
  for (const std::string& folder : {documents_ + "/run", documents_}) {
    const Outcome impossible = Run({"--output_dir=" + folder});
    EXPECT_EQ(impossible.exit_code, 1);
    EXPECT_THAT(impossible.err, ::testing::StartsWith("error: [" + folder + "]"));
  }
}

TEST_F(BadInputTest, AllTemplatesComeAlong) {
  ASSERT_TRUE(MakeDirectories(model_ + "/additional_chat_templates").ok());
  WriteModelFile("additional_chat_templates/tool_use.jinja", "{{ messages }}");
  ASSERT_EQ(Run().exit_code, 0);
  EXPECT_EQ(ReadFile(folder_ + "/additional_chat_templates/tool_use.jinja").value_or(""),
            "{{ messages }}");
}

TEST_F(BadInputTest, ADryRunMakesNothing) {
  const Outcome outcome = Run({"--dry_run"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  for (const char* part : {"data", "steps", "buckets", "memory", "activations at most"}) {
    EXPECT_THAT(outcome.out, HasSubstr(part));
  }
  EXPECT_FALSE(FileExists(folder_));
}

// An MLP of 2³¹ channels: exit code 1 and the numbers; no weights are asked for.
TEST_F(BadInputTest, WhatDoesNotFitIsRefusedWithTheNumbers) {
  std::string config = ReadFile(model_ + "/config.json").value_or("");
  const std::string size = "\"intermediate_size\":";
  ASSERT_NE(config.find(size), std::string::npos) << config;
  const size_t value = config.find(size) + size.size();
  config.replace(value, config.find_first_of(",}", value) - value, "2147483648");
  WriteModelFile("config.json", config);
  ASSERT_EQ(remove((model_ + "/model.safetensors").c_str()), 0);
  ExpectRefused({"--dry_run"}, {"[memory] want", "TiB for 2 ranks", "for model and optimizer",
                                "for activations", "got", "HINT: "});
  const Outcome outcome = Run({"--dry_run"});
  EXPECT_THAT(outcome.out,
              HasSubstr("in all, for each rank"));  // the plans are printed all the same
}

TEST_F(BadInputTest, DocumentsOnStandardInput) {
  const Outcome file = Run({"--logging_steps=1"});
  ASSERT_EQ(file.exit_code, 0) << file.err;
  const std::string adapter = ReadFile(folder_ + "/adapter_model.safetensors").value_or("");
  const std::string second = FreshPath("run");
  const Outcome outcome = Train({"--model=" + model_, "--train_file=-", "--output_dir=" + second,
                                 "--max_steps=1", "--nproc_per_node=2"},
                                documents_);
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_TRUE(ReadFile(second + "/adapter_model.safetensors").value_or("") == adapter);
  EXPECT_EQ(Run({"--train_file=,", "--output_dir=" + second + "2"}).exit_code, 1);
  const Outcome nothing = Run({"--train_file=-", "--output_dir=" + FreshPath("third")});
  EXPECT_EQ(nothing.exit_code, 1);
  EXPECT_THAT(nothing.err, HasSubstr("standard input"));
  EXPECT_THAT(nothing.err, HasSubstr("HINT: pipe documents into it, and name it once"));
}

// A parent without a terminal may have closed it: then no socket may become standard output.
TEST_F(BadInputTest, AClosedStandardOutputIsNoneOfOurs) {
  const Outcome outcome =
      TrainerProcess({"-c", "exec \"$0\" \"$@\" >&-", TrainerProgram(), "--model=" + model_,
                      "--train_file=" + documents_, "--output_dir=" + folder_, "--max_steps=1"},
                     "/dev/null", {}, "/bin/sh")
          .Wait();
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_TRUE(FileExists(folder_ + "/adapter_model.safetensors"));
}

// Whatever characters flags have, run.flags starts the same run again.
TEST_F(BadInputTest, RunFlagsStartTheSameRun) {
  const Outcome first =
      Run({"--pair_template=Q: {prompt}\n\"A\": {completion}", "--system_prompt= \n x\\n"});
  ASSERT_EQ(first.exit_code, 0) << first.err;
  EXPECT_THAT(first.out, HasSubstr("without effect"));  // the documents are tokens
  const Outcome again = Train({"--flagfile=" + folder_ + "/run.flags"});
  EXPECT_EQ(again.exit_code, 0) << again.err;
  EXPECT_THAT(again.out, HasSubstr("holds this run, finished"));
}

}  // namespace
}  // namespace lockstep
