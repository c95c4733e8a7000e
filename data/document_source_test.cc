#include "data/document_source.h"

#include <sys/stat.h>
#include <zlib.h>
#include <zstd.h>

#include <cstdlib>
#include <fstream>
#include <thread>

#include "absl/strings/match.h"
#include "base/check.h"
#include "base/file.h"
#include "gtest/gtest.h"

namespace lockstep::data {
namespace {

std::string Write(absl::string_view name, absl::string_view content) {
  const std::string path = JoinPath(getenv("TEST_TMPDIR"), name);
  EXPECT_TRUE(WriteFileAtomically(path, content).ok());
  return path;
}

using Documents = std::vector<std::pair<int64_t, std::string>>;  // line, text

absl::StatusOr<Documents> ReadAll(const std::string& path, size_t batch_bytes = 8) {
  auto source = DocumentSource::Open(path);
  if (!source.ok()) return source.status();
  Documents all;
  while (true) {
    auto batch = (*source)->NextBatch(batch_bytes);
    if (!batch.ok()) return batch.status();
    if (batch->empty()) return all;
    for (const RawDocument& document : *batch) all.push_back({document.line, document.text});
  }
}

std::string Gzip(const std::string& text) {
  z_stream state = {};
  deflateInit2(&state, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
  std::string out(text.size() + 1000, '\0');
  state.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  state.avail_in = text.size();
  state.next_out = reinterpret_cast<Bytef*>(out.data());
  state.avail_out = out.size();
  deflate(&state, Z_FINISH);
  out.resize(out.size() - state.avail_out);
  deflateEnd(&state);
  return out;
}

std::string Zstd(const std::string& text) {
  std::string out(ZSTD_compressBound(text.size()), '\0');
  out.resize(ZSTD_compress(out.data(), out.size(), text.data(), text.size(), 3));
  return out;
}

TEST(DocumentSourceTest, ReadsLines) {
  const Documents want = {{1, "{\"a\": 1}"}, {4, "{\"b\": [1, 2]}"}, {5, "{}"}};
  EXPECT_EQ(*ReadAll(Write("a.jsonl", "{\"a\": 1}\n\n \t\n{\"b\": [1, 2]}\n{}")), want);
  EXPECT_EQ(*ReadAll(Write("crlf.jsonl", "{\"a\": 1}\r\n\r\n\r\n{\"b\": [1, 2]}\r\n{}\r\n")), want);
  EXPECT_EQ(*ReadAll(Write("bom.jsonl", "\xEF\xBB\xBF{\"a\": 1}\n\n\n{\"b\": [1, 2]}\n{}\n")),
            want);
}

TEST(DocumentSourceTest, ReadsAnArray) {
  const std::string text = " [\n {\"a\": \"],}\\\"\"},\n{\"b\": [1, {}]} , 7\n]\n";
  const Documents want = {{2, "{\"a\": \"],}\\\"\"}"}, {3, "{\"b\": [1, {}]}"}, {3, "7\n"}};
  EXPECT_EQ(*ReadAll(Write("a.json", text)), want);
  const Documents escaped = {{1, R"({"a": "\\"})"}, {1, "{}"}};
  EXPECT_EQ(*ReadAll(Write("escaped.json", R"([{"a": "\\"}, {}])")), escaped);
  EXPECT_EQ(*ReadAll(Write("empty.json", "[]")), Documents());
}

TEST(DocumentSourceTest, ReadsParagraphs) {
  const Documents want = {{2, "one\ntwo"}, {6, "three"}};
  EXPECT_EQ(*ReadAll(Write("a.txt", "\none\ntwo\n\n \nthree\n")), want);
}

TEST(DocumentSourceTest, TellsCompressedFilesByTheirContent) {
  std::string text;
  for (int i = 0; i < 300000; ++i) text += "{\"number\": " + std::to_string(i) + "}\n";
  const Documents want = *ReadAll(Write("plain.jsonl", text), 1 << 20);
  EXPECT_EQ(want.size(), 300000u);
  EXPECT_EQ(*ReadAll(Write("gz.jsonl", Gzip(text)), 1 << 20), want);
  EXPECT_EQ(*ReadAll(Write("two.jsonl", Gzip(text.substr(0, 17)) + Gzip(text.substr(17)))), want);
  EXPECT_EQ(*ReadAll(Write("zst.jsonl", Zstd(text)), 1 << 20), want);
}

TEST(DocumentSourceTest, BadFilesAreErrorsWithTheirPlace) {
  const auto message = [](const absl::StatusOr<Documents>& result) {
    return std::string(result.status().message());
  };
  EXPECT_NE(message(ReadAll("/nonexistent")).find("No such file"), std::string::npos);
  EXPECT_NE(message(ReadAll(Write("0", ""))).find("empty"), std::string::npos);
  EXPECT_NE(message(ReadAll(getenv("TEST_TMPDIR"))).find("folder"), std::string::npos);
  EXPECT_NE(message(ReadAll(Write("o.json", "[{},\n{\"a\": \"x"))).find("o.json:2] the file ends"),
            std::string::npos);
  EXPECT_NE(message(ReadAll(Write("c.json", "[{}\n{}]"))).find("want ','"), std::string::npos);
  EXPECT_NE(message(ReadAll(Write("e.json", "[{},\n]"))).find("e.json:2] want an element"),
            std::string::npos);
  EXPECT_NE(message(ReadAll(Write("t.json", "[{}] {}"))).find("nothing behind"), std::string::npos);
  const std::string gzip = Gzip(std::string(1000, 'x'));
  EXPECT_NE(message(ReadAll(Write("g", gzip.substr(0, gzip.size() - 4)))).find("too early"),
            std::string::npos);
  const std::string zstd = Zstd(std::string(1000, 'x'));
  EXPECT_NE(message(ReadAll(Write("z", zstd.substr(0, zstd.size() - 4)))).find("too early"),
            std::string::npos);
}

TEST(DocumentSourceTest, NamesFormatsThatItDoesNotRead) {
  const std::pair<std::string, const char*> kFiles[] = {
      {std::string("\xfd"
                   "7zXZ\0rest",
                   10),
       "got xz data"},
      {"BZh91AY&SYrest", "got bzip2 data"},
      {"PK\x03\x04rest", "got zip data"},
      {"PAR1rest", "got Parquet data"},
      {"ARROW1rest", "got Arrow data"},
      {"\xff\xfe{", "got UTF-16 data"},
      {std::string("{\0\"", 3), "got UTF-16 data"},
      {std::string("\xff\xfe\0\0", 4), "got UTF-32 data"}};
  for (const auto& [bytes, wanted] : kFiles) {
    const std::string message(ReadAll(Write("other", bytes)).status().message());
    EXPECT_NE(message.find(wanted), std::string::npos) << message;
  }
  EXPECT_EQ(ReadAll(Write("BZh.txt", "BZh")).value().size(), 1u);  // text
}

// One block of output may be left when all of the input has been taken.
TEST(DocumentSource, ZstdWithoutAChecksumBehindIt) {
  for (const size_t size : {size_t{1} << 20, (size_t{1} << 20) + 1, (size_t{1} << 20) + 100'000}) {
    const std::string text(size, 'x');
    std::string packed(ZSTD_compressBound(size), '\0');
    packed.resize(ZSTD_compress(packed.data(), packed.size(), text.data(), text.size(), 3));
    const auto documents = ReadAll(Write("a.txt", packed));
    ASSERT_TRUE(documents.ok()) << size << ": " << documents.status();
    EXPECT_EQ((*documents)[0].second.size(), size);
    EXPECT_FALSE(ReadAll(Write("a.txt", packed.substr(0, packed.size() - 1))).ok());
  }
}

// Standard input as `content`; the path of its copy.
std::string Spool(absl::string_view content) {
  const std::string path = Write("input", content);
  CHECK(std::freopen(path.c_str(), "r", stdin) != nullptr);
  const auto copy = SpoolStream("-", std::string(getenv("TEST_TMPDIR")) + "/spool");
  return copy.ok() ? *copy : std::string(copy.status().message());
}

TEST(DocumentSource, StandardInputIsNamedByWhatItIs) {
  EXPECT_TRUE(absl::EndsWith(Spool(" \n{\"text\":\"a\"}"), ".jsonl"));
  EXPECT_TRUE(absl::EndsWith(Spool("\xEF\xBB\xBF[1]"), ".jsonl"));
  EXPECT_TRUE(absl::EndsWith(Spool("(words)\n\nothers"), ".txt"));
  EXPECT_EQ(ReadFile(Spool("words")).value_or(""), "words");
  EXPECT_EQ(Spool("words"), Spool("words"));
  EXPECT_NE(Spool("").find("HINT"), std::string::npos);
}

TEST(DocumentSource, WhereACopyCannotBeWrittenIsSaid) {
  const absl::Status status = SpoolStream("-", "/proc").status();
  EXPECT_TRUE(absl::StartsWith(status.message(), "[--cache_dir] [/proc/stdin] ")) << status;
}

TEST(DocumentSource, APipeIsCopiedToo) {
  const std::string directory = getenv("TEST_TMPDIR"), pipe = directory + "/pipe";
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_TRUE(IsStream(pipe));
  EXPECT_FALSE(IsStream(Write("regular", "x")));
  std::thread writer([&] { std::ofstream(pipe) << "{\"text\":\"a\"}"; });
  EXPECT_EQ(ReadFile(*SpoolStream(pipe, directory + "/spool")).value_or(""), "{\"text\":\"a\"}");
  writer.join();
}

}  // namespace
}  // namespace lockstep::data
