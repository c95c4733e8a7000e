#include "trainer/report/report.h"

#include "absl/strings/str_cat.h"
#include "trainer/report/chart.h"

namespace lockstep {
namespace {

constexpr char kStyle[] = R"css(
:root{color-scheme:light dark;--ink:#1c2330;--soft:#667085;--line:#e4e7ec;--card:#fff;--page:#f6f7f9;
--accent:#3b6fe0}
@media(prefers-color-scheme:dark){:root{--ink:#e6e9ef;--soft:#98a2b3;--line:#2b3240;--card:#171c26;
--page:#0e1219;--accent:#7aa2ff}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:15px/1.5 system-ui,sans-serif}
main{max-width:1180px;margin:0 auto;padding:32px 20px 60px}
h1{font-size:24px;margin:0;overflow-wrap:anywhere}
h2{font-size:16px;margin:34px 0 12px}
.state{display:inline-block;margin:6px 0 0;color:var(--soft)}
.state:before{content:"";display:inline-block;width:8px;height:8px;border-radius:4px;margin-right:7px;
background:var(--accent)}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:12px;margin-top:22px}
.card,.chart,.sample,details{background:var(--card);border:1px solid var(--line);border-radius:10px}
.card{padding:12px 16px}.card b{display:block;font-size:21px;font-weight:600;letter-spacing:-.01em}
.card span{color:var(--soft);font-size:13px}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(480px,100%),1fr));gap:12px;
margin-top:12px}
.chart{padding:12px 10px 6px}
svg{display:block;width:100%;height:auto}
svg .grid{stroke:var(--line)}svg .axis{stroke:var(--soft)}
svg text{font:11px system-ui,sans-serif;fill:var(--soft)}
svg .title{font-size:13.5px;font-weight:600;fill:var(--ink)}
.sample{padding:14px 18px;margin-bottom:12px}
.sample .columns{display:grid;grid-template-columns:1fr 1fr;gap:22px;margin-top:8px}
.sample h3{margin:0;font-size:12px;color:var(--soft);font-weight:500}
.sample pre,td pre{margin:0;white-space:pre-wrap;overflow-wrap:anywhere;font:13px/1.5 ui-monospace,
monospace}
@media(max-width:700px){.sample .columns{grid-template-columns:1fr}}
details{margin-bottom:10px;padding:0 18px}
summary{cursor:pointer;padding:11px 0;font-weight:600}
table{border-collapse:collapse;width:100%;margin-bottom:12px;font-variant-numeric:tabular-nums}
td{border-top:1px solid var(--line);padding:5px 0;vertical-align:top;overflow-wrap:anywhere}
td:first-child{color:var(--soft);width:290px;padding-right:20px}
)css";

std::string Charts(const MetricsHistory& history) {
  std::vector<double> x, loss, norm, clipped, rate, speed, eval_x, eval_loss;
  for (const StepRecord& r : history.steps) {
    x.push_back(static_cast<double>(r.step));
    loss.push_back(r.loss);
    norm.push_back(r.grad_norm);
    clipped.push_back(r.grad_norm_clipped);
    rate.push_back(r.learning_rate);
    speed.push_back(r.tokens_per_second);
  }
  for (const EvalRecord& r : history.evals) {
    eval_x.push_back(static_cast<double>(r.step));
    eval_loss.push_back(r.eval_loss);
  }
  const char* blue = "#3b6fe0";
  const std::vector<Chart> charts = {
      {"Loss",
       "step",
       {{.name = "training", .color = blue, .x = x, .y = loss, .smooth = true},
        {.name = "validation", .color = "#e0743b", .x = eval_x, .y = eval_loss, .markers = true}}},
      {"Gradient norm",
       "step",
       {{.name = "before clipping", .color = "#7a5af5", .x = x, .y = norm, .smooth = true},
        {.name = "after", .color = "#e0743b", .x = x, .y = clipped}},
       /*from_zero=*/true},
      {"Learning rate",
       "step",
       {{.name = "", .color = "#12a594", .x = x, .y = rate}},
       /*from_zero=*/true},
      {"Tokens per second",
       "step",
       {{.name = "", .color = "#c2410c", .x = x, .y = speed, .smooth = true}},
       /*from_zero=*/true},
  };
  std::string html;
  for (const Chart& chart : charts) {
    const std::string svg = RenderSvg(chart);
    if (!svg.empty()) absl::StrAppend(&html, "<div class=\"chart\">", svg, "</div>\n");
  }
  return html.empty() ? "" : absl::StrCat("<div class=\"charts\">\n", html, "</div>\n");
}

std::string Samples(const std::vector<Sample>& samples) {
  if (samples.empty()) return "";
  std::string html = "<h2>Samples</h2>\n";
  const auto part = [&](const char* label, const std::string& text) {
    return absl::StrCat("<div><h3>", label, "</h3><pre>", EscapeHtml(text), "</pre></div>");
  };
  for (const Sample& sample : samples) {
    absl::StrAppend(&html, "<div class=\"sample\">", part("prompt", sample.prompt),
                    "<div class=\"columns\">", part("before training", sample.before),
                    sample.after.empty() ? "" : part("after training", sample.after),
                    "</div></div>\n");
  }
  return html;
}

std::string Tables(const std::vector<ReportTable>& tables) {
  std::string html = "<h2>Details</h2>\n";
  for (const ReportTable& table : tables) {
    absl::StrAppend(&html, "<details", table.folded ? "" : " open", "><summary>",
                    EscapeHtml(table.title), "</summary><table>\n");
    for (const auto& [name, value] : table.rows) {
      const bool lines = value.find('\n') != std::string::npos;
      absl::StrAppend(&html, "<tr><td>", EscapeHtml(name), "</td><td>", lines ? "<pre>" : "",
                      EscapeHtml(value), lines ? "</pre>" : "", "</td></tr>\n");
    }
    html += "</table></details>\n";
  }
  return html;
}

}  // namespace

std::string RenderReport(const Report& report, const MetricsHistory& history) {
  std::string html = absl::StrCat(
      "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
      "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><title>",
      EscapeHtml(report.title), "</title><style>", kStyle, "</style></head><body><main>\n<h1>",
      EscapeHtml(report.title), "</h1><div class=\"state\">", EscapeHtml(report.state),
      "</div>\n<div class=\"cards\">");
  for (const auto& [label, value] : report.headlines) {
    absl::StrAppend(&html, "<div class=\"card\"><b>", EscapeHtml(value), "</b><span>",
                    EscapeHtml(label), "</span></div>");
  }
  absl::StrAppend(&html, "</div>\n", Charts(history), Samples(report.samples),
                  Tables(report.tables), "</main></body></html>\n");
  return html;
}

}  // namespace lockstep
