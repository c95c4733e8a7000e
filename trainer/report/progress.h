// What a person sees of training: a line every few steps; on a terminal also a bar behind it, and
// for the steps between a line that renews itself.
//
//   step  120/600  epoch 0.40  loss 1.9321  grad 0.41  lr 1.8e-04  12.3k tokens/s  ETA 2:31
//   [############................................................]  20 %
#pragma once

#include <cstdint>
#include <cstdio>
#include <string>

#include "trainer/report/metrics.h"

namespace lockstep {

class Progress {
 public:
  // Prints to `out`. Every `logging_steps` steps (0: never); on a terminal also a line for the time
  // between, no wider than the terminal.
  Progress(std::FILE* out, int64_t num_steps, int64_t logging_steps);
  ~Progress();

  void Step(const StepRecord& record);
  void Eval(const EvalRecord& record);

  // A line of its own, whatever the state of the progress line.
  void Say(const std::string& line);  // VisibleText of it

 private:
  void EndLine();

  std::FILE* const out_;
  const bool terminal_;
  const int64_t num_steps_;
  const int64_t logging_steps_;
  bool line_open_ = false;  // the cursor stands behind text that the next line takes the place of
  bool bar_open_ = false;   // which is the bar
  double seconds_per_step_ = 0;  // moving average
};

// The text of a step's line; `remaining_s` < 0: without ETA. Where it is wider than `columns`,
// figures are left out, the least wanted first: lr, grad, epoch, tokens/s, ETA.
std::string FormatStep(const StepRecord& record, int64_t num_steps, double remaining_s,
                       size_t columns);

}  // namespace lockstep
