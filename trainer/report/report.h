// report.html: one self-contained page about a run.
//
// Curves of loss, gradient norm, learning rate and throughput; samples before and after; tables of
// whatever the run has to say about its data, plan, options and environment. No script, nothing
// from outside; light and dark as the reader's system has it.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "trainer/report/metrics.h"

namespace lockstep {

struct Sample {
  std::string prompt;
  std::string before;  // what the model says before training
  std::string after;   // and after it; "" as long as training goes on
};

struct ReportTable {
  std::string title;
  std::vector<std::pair<std::string, std::string>> rows;
  bool folded = false;  // closed until the reader opens it
};

struct Report {
  std::string title;                                           // the run's name
  std::string state;                                           // "done", "running", "interrupted"
  std::vector<std::pair<std::string, std::string>> headlines;  // label, value: the big figures
  std::vector<Sample> samples;
  std::vector<ReportTable> tables;
};

std::string RenderReport(const Report& report, const MetricsHistory& history);

}  // namespace lockstep
