#include "tools/doctor_print.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "base/terminal.h"

namespace lockstep {
namespace {

constexpr int64_t kShownDocuments = 5, kShownTokens = 600;

std::string Escaped(absl::string_view text) {
  return absl::StrReplaceAll(text,
                             {{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}, {"\"", "&quot;"}});
}

std::string TextOf(absl::Span<const int32_t> ids, const data::Tokenizer* tokenizer) {
  if (tokenizer != nullptr) return tokenizer->Decode(ids, /*skip_special_tokens=*/false);
  return absl::StrJoin(ids, "",
                       [](std::string* out, int32_t id) { absl::StrAppend(out, id, " "); });
}

// Where in a document's text its first tokens end, which alone are `first`: a character of which
// they have only a part is the next token's.
size_t TokensEnd(absl::string_view text, absl::string_view first) {
  size_t end =
      std::mismatch(text.begin(), text.end(), first.begin(), first.end()).first - text.begin();
  while (end > 0 && end < text.size() && (text[end] & 0xC0) == 0x80) --end;
  return end;
}

// Texts in the page come with these marks, which no text has, until they are tags.
constexpr char kOn[] = "\x01", kOff[] = "\x02";

constexpr char kStyle[] =
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em;"
    "color-scheme:light dark}table{border-collapse:collapse}td,th{padding:.3em .8em;"
    "text-align:left;vertical-align:top;border-bottom:1px solid #8884}pre{white-space:pre-wrap;"
    "background:#8881;padding:1em}mark{background:#7c95;color:inherit}"
    ".error{color:#c33}.warning{color:#b70}.info{color:#68a}rect{fill:#4a8}"
    "text{font-size:11px;fill:currentColor}";

std::string FindingRows(const data::Diagnosis& diagnosis) {
  std::string rows;
  for (const data::Finding& finding : diagnosis.findings) {
    std::string places;
    for (const data::SourcePosition& place : finding.places) {
      absl::StrAppend(&places, places.empty() ? "" : ", ", Escaped(place.file), ":", place.line);
    }
    const absl::string_view severity = data::SeverityName(finding.severity);
    absl::StrAppend(&rows, "<tr><td class=", severity, ">", severity, "<td>", finding.code, "<td>",
                    finding.count, "<td>", Escaped(finding.message), "<br><small>",
                    Escaped(finding.advice), "<br>", places, "</small>\n");
  }
  return rows;
}

std::string ShareTable(absl::string_view what, const std::vector<data::Diagnosis::Share>& shares) {
  std::string table =
      absl::StrCat("<table><tr><th>", what, "<th>documents<th>tokens<th>supervised\n");
  for (const data::Diagnosis::Share& share : shares) {
    absl::StrAppend(&table, "<tr><td>", Escaped(share.name), "<td>", share.documents, "<td>",
                    share.tokens, "<td>", share.supervised_tokens,
                    absl::StrFormat(" (%.1f %%)\n", 100 * share.supervised_share()));
  }
  return table + "</table>\n";
}

// Bars over powers of two.
std::string Histogram(const data::Diagnosis& diagnosis) {
  constexpr int kBar = 44, kHeight = 160;
  int64_t most = 1;
  for (const auto& bin : diagnosis.histogram) most = std::max(most, bin.count);
  std::string svg =
      absl::StrFormat("<svg viewBox=\"0 0 %d %d\" role=img aria-label=\"lengths\">",
                      kBar * std::max<size_t>(diagnosis.histogram.size(), 1), kHeight + 40);
  int x = 0;
  for (const auto& bin : diagnosis.histogram) {
    const double height = static_cast<double>(kHeight) * bin.count / most;
    absl::StrAppendFormat(&svg, "<rect x=%d y=%.1f width=%d height=%.1f></rect>", x + 2,
                          16 + kHeight - height, kBar - 4, height);
    absl::StrAppendFormat(&svg, "<text x=%d y=%.1f>%d</text>", x + 4, 12 + kHeight - height,
                          bin.count);
    absl::StrAppendFormat(&svg, "<text x=%d y=%d>%d…</text>", x + 4, kHeight + 32, bin.begin);
    x += kBar;
  }
  return svg + "</svg>";
}

}  // namespace

std::string MarkedText(const data::Dataset& dataset, int64_t document,
                       const data::Tokenizer* tokenizer, int64_t max_tokens, const std::string& on,
                       const std::string& off) {
  const absl::Span<const data::CachedToken> tokens = dataset.tokens(document);
  const size_t shown = std::min(tokens.size(), static_cast<size_t>(max_tokens));
  std::vector<int32_t> ids;
  for (const data::CachedToken& token : tokens.first(shown)) ids.push_back(token.id());
  const std::string text = TextOf(ids, tokenizer);
  std::string out;
  for (size_t token = 0, at = 0; token < shown;) {
    const bool supervised = tokens[token].supervised();
    while (token < shown && tokens[token].supervised() == supervised) ++token;
    const size_t end =
        token == shown
            ? text.size()
            : std::max(at, TokensEnd(text, TextOf(absl::MakeSpan(ids).first(token), tokenizer)));
    const std::string part = VisibleText(absl::string_view(text).substr(at, end - at));
    out += supervised && !part.empty() ? on + part + off : part;
    at = end;
  }
  if (shown < tokens.size()) {
    absl::StrAppend(&out, " … ", tokens.size() - shown, " more tokens");
  }
  return out;
}

std::string DoctorPage(const data::Diagnosis& diagnosis, const data::Dataset& dataset,
                       const data::Tokenizer* tokenizer) {
  std::string page = absl::StrCat("<!doctype html><meta charset=utf-8><title>Doctor</title><style>",
                                  kStyle, "</style>\n<h1>What training would see</h1>\n",
                                  ShareTable("file", diagnosis.files),
                                  ShareTable("format", diagnosis.formats), "<h2>Findings</h2>\n");
  absl::StrAppend(&page, diagnosis.findings.empty()
                             ? "<p>None.</p>"
                             : absl::StrCat("<table>", FindingRows(diagnosis), "</table>"));
  const auto& lengths = diagnosis.lengths;
  absl::StrAppend(&page, "\n<h2>Tokens of a document</h2>\n<p>Median ", lengths.median,
                  ", 90 % at most ", lengths.p90, ", 99 % at most ", lengths.p99, ", longest ",
                  lengths.longest, ".</p>\n", Histogram(diagnosis),
                  "\n<h2>Documents</h2>\n<p><mark>Marked</mark> is what is learned.</p>\n");
  const int64_t shown = std::min(kShownDocuments, dataset.num_documents());
  for (int64_t i = 0; i < shown; ++i) {
    const std::string text = MarkedText(dataset, i, tokenizer, kShownTokens, kOn, kOff);
    const std::string marked =
        absl::StrReplaceAll(Escaped(text), {{kOn, "<mark>"}, {kOff, "</mark>"}});
    absl::StrAppend(&page, "<h3>", Escaped(dataset.Position(i)), "</h3>\n<pre>", marked,
                    "</pre>\n");
  }
  return page;
}

}  // namespace lockstep
