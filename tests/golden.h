// Reads a golden folder: what transformers and PEFT computed in f64 for one small model.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

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

// How far a run may be from a golden, or is. Logits: absolute, or relative where it is said. Losses
// and norms: relative, over all steps. Gradients and the final adapter: relative to the largest
// element of each matrix.
struct Tolerance {
  double logits = 0, loss = 0, grad_norm = 0, gradient = 0, final_adapter = 0;
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
  // How far transformers and PEFT are from it in bf16, logits relative to the largest; zeros where
  // the golden does not say.
  Tolerance bf16;
};

// The folders in root/goldens, sorted; "none" alone if there is none, for tests to skip on.
std::vector<std::string> GoldenNames(const std::string& root);

// `root` holds goldens/ and assets/. Fatal if something is not as the goldens' README says.
Golden ReadGolden(const std::string& root, const std::string& name);

}  // namespace lockstep
