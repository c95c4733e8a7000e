// Reads a golden folder: what transformers and PEFT computed in f64 for one small model.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "nn/safetensors.h"

namespace lockstep {

struct GoldenDocument {
  std::vector<int32_t> input_ids;
  std::vector<int32_t> labels;      // −1: not supervised
  std::vector<double> logits_base;  // [T, V]
  std::vector<double> logits_adapter;
};

struct GoldenRecord {
  double loss;
  double grad_norm;
};

struct Golden {
  std::string name;
  std::string model;    // folder
  std::string adapter;  // folder
  std::vector<GoldenDocument> documents;
  double learning_rate, beta1, beta2, eps, weight_decay;
  int64_t num_supervised;
  std::vector<GoldenRecord> history;                     // before each step, and after the last
  std::map<std::string, std::vector<double>> gradients;  // by PEFT name
  std::map<std::string, std::vector<double>> final_adapter;
};

// The folders in root/goldens, sorted; "none" alone if there is none, for tests to skip on.
std::vector<std::string> GoldenNames(const std::string& root);

// `root` holds goldens/ and assets/. Fatal if something is not as the goldens' README says.
Golden ReadGolden(const std::string& root, const std::string& name);

}  // namespace lockstep
