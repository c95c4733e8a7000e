// A line chart as SVG, for the report: no script, no font, nothing from outside.
#pragma once

#include <string>
#include <vector>

namespace lockstep {

struct Series {
  std::string name;
  std::string color;  // CSS
  std::vector<double> x;
  std::vector<double> y;  // the same length; what is not finite leaves a gap
  bool smooth = false;    // also a moving average, with the points behind it in a pale color
  bool markers = false;   // dots at the points: for few ones
};

struct Chart {
  std::string title;
  std::string x_label;
  std::vector<Series> series;
  bool from_zero = false;  // the y axis begins at 0
};

// <svg>…</svg>, of the width of its container. "" without a finite point.
std::string RenderSvg(const Chart& chart);

// Round positions for about `count` grid lines that cover [low, high]: 1, 2 or 5 times a power
// of 10.
std::vector<double> AxisTicks(double low, double high, int count);

// &, <, > and quotes as entities.
std::string EscapeHtml(const std::string& text);

}  // namespace lockstep
