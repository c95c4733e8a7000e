#include "trainer/report/chart.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "base/number.h"

namespace lockstep {
namespace {

// The drawing, in the units of its viewBox.
constexpr double kWidth = 560, kHeight = 260;
constexpr double kLeft = 58, kRight = 14, kTop = 34, kBottom = 34;

struct Range {
  double low = std::numeric_limits<double>::infinity();
  double high = -std::numeric_limits<double>::infinity();
  void Add(double v) {
    low = std::min(low, v);
    high = std::max(high, v);
  }
  bool empty() const { return low > high; }
};

// Data to drawing.
struct Scale {
  Range x, y;
  double X(double v) const {
    return kLeft + (v - x.low) / (x.high - x.low) * (kWidth - kLeft - kRight);
  }
  double Y(double v) const {
    return kHeight - kBottom - (v - y.low) / (y.high - y.low) * (kHeight - kTop - kBottom);
  }
};

void Widen(Range* range, double share) {
  const double room = range->high > range->low ? (range->high - range->low) * share
                                               : std::max(std::abs(range->high) * 0.1, 1e-12);
  range->low -= room;
  range->high += room;
}

std::string TickLabel(double v) {
  if (v == 0) return "0";
  const double magnitude = std::abs(v);
  if (magnitude >= 10000) return HumanCount(v);
  return magnitude < 1e-3 ? absl::StrFormat("%.1e", v) : absl::StrFormat("%.4g", v);
}

// A path through the points; a gap where a value is not finite.
std::string PathOf(const std::vector<double>& x, const std::vector<double>& y, const Scale& scale) {
  std::string path;
  bool pen_down = false;
  for (size_t i = 0; i < x.size(); ++i) {
    const bool finite = std::isfinite(y[i]);
    if (finite) {
      absl::StrAppendFormat(&path, "%s%.1f %.1f", pen_down ? "L" : "M", scale.X(x[i]),
                            scale.Y(y[i]));
    }
    pen_down = finite;
  }
  return path;
}

// Exponential moving average over about a thirtieth of the run, without the start's bias.
std::vector<double> Smoothed(const std::vector<double>& y) {
  const double keep = 1 - 1 / std::max(1.0, y.size() / 30.0);
  std::vector<double> out(y.size());
  double sum = 0, weight = 0;
  for (size_t i = 0; i < y.size(); ++i) {
    if (std::isfinite(y[i])) {
      sum = keep * sum + y[i];
      weight = keep * weight + 1;
    }
    out[i] = weight > 0 ? sum / weight : y[i];
  }
  return out;
}

void DrawAxes(const Chart& chart, const Scale& scale, std::string* svg) {
  for (const double y : AxisTicks(scale.y.low, scale.y.high, 5)) {
    absl::StrAppendFormat(
        svg,
        "<line class=\"grid\" x1=\"%.0f\" x2=\"%.0f\" y1=\"%.1f\" y2=\"%.1f\"/>"
        "<text class=\"tick\" x=\"%.0f\" y=\"%.1f\" text-anchor=\"end\">%s</text>",
        kLeft, kWidth - kRight, scale.Y(y), scale.Y(y), kLeft - 7, scale.Y(y) + 3.5, TickLabel(y));
  }
  for (const double x : AxisTicks(scale.x.low, scale.x.high, 6)) {
    absl::StrAppendFormat(svg,
                          "<text class=\"tick\" x=\"%.1f\" y=\"%.0f\" "
                          "text-anchor=\"middle\">%s</text>",
                          scale.X(x), kHeight - kBottom + 16, TickLabel(x));
  }
  absl::StrAppendFormat(svg,
                        "<line class=\"axis\" x1=\"%.0f\" x2=\"%.0f\" y1=\"%.0f\" y2=\"%.0f\"/>"
                        "<text class=\"tick\" x=\"%.0f\" y=\"%.0f\" text-anchor=\"end\">%s</text>",
                        kLeft, kWidth - kRight, kHeight - kBottom, kHeight - kBottom,
                        kWidth - kRight, kHeight - 3, EscapeHtml(chart.x_label));
}

void DrawSeries(const Series& series, const Scale& scale, std::string* svg) {
  const auto line = [&](const std::vector<double>& y, double width, double opacity) {
    absl::StrAppendFormat(svg,
                          "<path d=\"%s\" fill=\"none\" stroke=\"%s\" stroke-width=\"%.1f\" "
                          "stroke-opacity=\"%.2f\" stroke-linejoin=\"round\"/>",
                          PathOf(series.x, y, scale), series.color, width, opacity);
  };
  const bool smooth = series.smooth && series.x.size() > 30;
  line(series.y, smooth ? 1 : 1.8, smooth ? 0.3 : 1);
  if (smooth) line(Smoothed(series.y), 2, 1);
  for (size_t i = 0; series.markers && i < series.x.size(); ++i) {
    if (!std::isfinite(series.y[i])) continue;
    absl::StrAppendFormat(svg,
                          "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3.5\" fill=\"%s\"><title>step %s: "
                          "%s</title></circle>",
                          scale.X(series.x[i]), scale.Y(series.y[i]), series.color,
                          ShortestNumber(series.x[i]), TickLabel(series.y[i]));
  }
}

void DrawLegend(const Chart& chart, std::string* svg) {
  absl::StrAppendFormat(svg, "<text class=\"title\" x=\"%.0f\" y=\"18\">%s</text>", kLeft,
                        EscapeHtml(chart.title));
  if (chart.series.size() < 2) return;
  double x = kWidth - kRight;
  for (auto series = chart.series.rbegin(); series != chart.series.rend(); ++series) {
    absl::StrAppendFormat(svg,
                          "<text class=\"tick\" x=\"%.0f\" y=\"18\" text-anchor=\"end\">%s</text>",
                          x, EscapeHtml(series->name));
    x -= 6.2 * static_cast<double>(series->name.size()) + 8;
    absl::StrAppendFormat(svg, "<circle cx=\"%.0f\" cy=\"14\" r=\"4\" fill=\"%s\"/>", x,
                          series->color);
    x -= 16;
  }
}

}  // namespace

std::string EscapeHtml(const std::string& text) {
  return absl::StrReplaceAll(
      text, {{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}, {"\"", "&quot;"}, {"'", "&#39;"}});
}

std::vector<double> AxisTicks(double low, double high, int count) {
  const double rough = (high - low) / count;
  const double power = std::pow(10, std::floor(std::log10(rough)));
  double step = power;
  for (const double factor : {2.0, 5.0, 10.0}) {
    if (step < rough) step = power * factor;
  }
  std::vector<double> ticks;
  for (double i = std::ceil(low / step - 1e-9); i * step <= high + step * 1e-9; ++i) {
    ticks.push_back(i * step);
  }
  return ticks;
}

std::string RenderSvg(const Chart& chart) {
  Scale scale;
  for (const Series& series : chart.series) {
    for (size_t i = 0; i < series.x.size(); ++i) {
      if (!std::isfinite(series.y[i])) continue;
      scale.x.Add(series.x[i]);
      scale.y.Add(series.y[i]);
    }
  }
  if (scale.x.empty()) return "";
  if (chart.from_zero) scale.y.Add(0);
  const double floor = scale.y.low;
  Widen(&scale.y, 0.06);
  if (chart.from_zero) scale.y.low = floor;
  if (scale.x.low == scale.x.high) Widen(&scale.x, 0);

  std::string svg =
      absl::StrFormat("<svg viewBox=\"0 0 %.0f %.0f\" role=\"img\" aria-label=\"%s\">", kWidth,
                      kHeight, EscapeHtml(chart.title));
  DrawAxes(chart, scale, &svg);
  for (const Series& series : chart.series) DrawSeries(series, scale, &svg);
  DrawLegend(chart, &svg);
  return svg + "</svg>";
}

}  // namespace lockstep
