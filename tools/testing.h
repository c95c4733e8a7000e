// For the tools' tests: running a tool as a user does, and small models to run it on.
#pragma once

#include <string>
#include <vector>

namespace lockstep {

struct ToolResult {
  int exit_code = 0;
  std::string out, err;  // standard output and standard error
};

// Runs bazel's //tools:NAME, which must be among the test's data.
ToolResult RunTool(const std::string& name, const std::vector<std::string>& arguments,
                   const std::string& standard_input = "");

struct TinyModel {
  bool tied = true;
  bool chat_template = true;  // ChatML
  std::string dtype = "float32";
};
// Writes a llama of random weights with a tokenizer of single bytes: ids 0 <s>, 1 </s>,
// 2 <|im_start|>, 3 <|im_end|>, then the bytes. Same options, same weights.
void WriteTinyModel(const std::string& folder, const TinyModel& options = {});

// Writes a PEFT adapter for it whose B is not zero: rank 4, alpha 8, every linear layer.
void WriteTinyAdapter(const std::string& model_folder, const std::string& folder);

}  // namespace lockstep
