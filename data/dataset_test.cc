#include "data/dataset.h"

#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <functional>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/testing.h"
#include "base/thread_pool.h"
#include "data/letter_encoder.h"
#include "data/selection.h"
#include "gtest/gtest.h"

namespace lockstep::data {
namespace {

class DatasetTest : public ::testing::Test {
 protected:
  DatasetTest() {
    spec_.cache_dir = directory_ + "/cache";
    spec_.encoder_fingerprint = "letters";
  }

  std::string Write(absl::string_view name, absl::string_view content) {
    const std::string path = JoinPath(directory_, name);
    EXPECT_TRUE(WriteFileAtomically(path, content).ok());
    return path;
  }

  absl::StatusOr<std::shared_ptr<const Dataset>> Open() {
    num_progress_ = 0;
    return OpenOrBuildDataset(spec_, LetterEncoder(),
                              [this](absl::string_view, int64_t, int64_t) { ++num_progress_; });
  }

  std::string CachePath(const Dataset& dataset) {
    return JoinPath(spec_.cache_dir, dataset.key() + ".tokens");
  }

  const std::string directory_ = FreshFolder();
  DatasetSpec spec_;
  int num_progress_ = 0;
};

TEST_F(DatasetTest, TheFirstDocumentMayBeTheBadOne) {
  spec_.files = {Write("a.jsonl", "{broken\n{\"text\":\"a>b\"}\n")};
  const auto refused = Open();
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.status().message().find("a.jsonl:1] "), absl::string_view::npos);
  EXPECT_NE(refused.status().message().find("HINT: "), absl::string_view::npos);
  spec_.skip_bad_documents = true;
  const auto dataset = Open();
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  EXPECT_EQ((*dataset)->num_documents(), 1);
  EXPECT_EQ((*dataset)->num_skipped(), 1);
}

TEST_F(DatasetTest, IfAllAreBadTheFirstOneTellsWhy) {
  spec_.files = {Write("a.txt", std::string("h\0i\0\n\0\n\0y\0o\0u\0", 14))};
  spec_.skip_bad_documents = true;
  const std::string message(Open().status().message());
  EXPECT_NE(message.find("got none; bad ones that were skipped: 1, the first: [" + spec_.files[0] +
                         ":1] byte 2 of this text is zero"),
            std::string::npos)
      << message;
  EXPECT_NE(message.find("HINT: convert the file: iconv -f UTF-16"), std::string::npos) << message;
}

TEST_F(DatasetTest, AListOfSkippedDocumentsThatIsCutSaysSo) {
  std::string text = "{\"text\":\"a>b\"}\n";
  for (int i = 0; i < 103; ++i) text += "{broken\n";
  spec_.files = {Write("a.jsonl", text)};
  spec_.skip_bad_documents = true;
  const auto dataset = Open();
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  EXPECT_EQ((*dataset)->num_skipped(), 103);
  ASSERT_EQ((*dataset)->Remarks().size(), 101u);
  EXPECT_EQ((*dataset)->Remarks().back(), "skipped: 3 more");
}

// As where a user has no home: which flag names another place.
TEST_F(DatasetTest, ACacheFolderThatCannotBeMadeSaysWhatItIs) {
  spec_.files = {Write("a.jsonl", "{\"text\":\"a>b\"}\n")};
  spec_.cache_dir = spec_.files[0] + "/cache";
  EXPECT_EQ(Open().status().message().find("[--cache_dir] [" + spec_.cache_dir + "]"), 0u);
}

TEST_F(DatasetTest, ACacheSpeaksOfTodaysFiles) {
  spec_.skip_bad_documents = true;
  spec_.files = {Write("then.jsonl", "{\"text\":\"a>b\"}\n{broken\n")};
  ASSERT_TRUE(Open().ok());
  spec_.files = {Write("now.jsonl", "{\"text\":\"a>b\"}\n{broken\n")};
  const auto dataset = Open();
  ASSERT_TRUE(dataset.ok());
  EXPECT_EQ(num_progress_, 0) << "it was built again";
  EXPECT_EQ((*dataset)->Position(0), spec_.files[0] + ":1");
  EXPECT_EQ((*dataset)->Remarks()[0].find("then.jsonl"), std::string::npos);
  EXPECT_NE((*dataset)->Remarks()[0].find("now.jsonl:2"), std::string::npos);
}

TEST_F(DatasetTest, WhatAKilledProcessLeftIsRemoved) {
  spec_.files = {Write("a.jsonl", "{\"text\":\"a>b\"}\n")};
  const std::string cache = CachePath(**Open());
  const std::string others = JoinPath(spec_.cache_dir, "other.tokens.tmp-abcdef");
  for (const std::string& path : {cache, cache + ".tmp-abcdef", others}) {
    ASSERT_TRUE(WriteFileAtomically(path, "half").ok());
  }
  ASSERT_TRUE(Open().ok());
  EXPECT_FALSE(FileExists(cache + ".tmp-abcdef"));
  EXPECT_TRUE(FileExists(others));
}

TEST_F(DatasetTest, AnErrorIsAParagraphWhateverTheDocumentHolds) {
  const std::string huge(1 << 20, 'x');
  spec_.files = {Write("a.jsonl", "{\"text\":\"" + huge + "\xff\"}\n")};
  const auto bad_utf8 = Open();
  ASSERT_FALSE(bad_utf8.ok());
  EXPECT_LT(bad_utf8.status().message().size(), 1000u);
  EXPECT_NE(bad_utf8.status().message().find("byte 1048586"), absl::string_view::npos)
      << bad_utf8.status();
  spec_.files = {Write("b.jsonl", "{\"input_ids\":[\"" + huge + "\"]}\n")};
  const auto bad_type = Open();
  ASSERT_FALSE(bad_type.ok());
  EXPECT_LT(bad_type.status().message().size(), 1000u + spec_.files[0].size());
}

// What becomes of a data set whose file `change` touches when the first part of it has been read.
absl::Status Meanwhile(DatasetSpec spec, const std::function<void()>& change) {
  bool changed = false;
  const auto progress = [&](absl::string_view, int64_t, int64_t) {
    if (!std::exchange(changed, true)) change();
  };
  return OpenOrBuildDataset(spec, LetterEncoder(), progress).status();
}

TEST_F(DatasetTest, AFileThatChangesWhileItIsReadIsRefused) {
  std::string text;  // more than one batch
  for (int i = 0; i < 5000; ++i) absl::StrAppend(&text, "q>", std::string(1999, 'a'), "\n\n");
  spec_.files = {Write("a.txt", text)};
  const auto grow = [&] { std::ofstream(spec_.files[0], std::ios::app) << "more\n"; };
  const absl::Status grown = Meanwhile(spec_, grow);
  EXPECT_TRUE(absl::StrContains(grown.message(), "changed while it was read")) << grown;
  const auto cut = [&] { ASSERT_EQ(truncate(spec_.files[0].c_str(), 9'000'000), 0); };
  const absl::Status shorter = Meanwhile(spec_, cut);
  EXPECT_TRUE(absl::StrContains(shorter.message(), "changed while it was read")) << shorter;
  // One that loses its name is still there for who has opened it.
  EXPECT_TRUE(Meanwhile(spec_, [&] { unlink(spec_.files[0].c_str()); }).ok());
  EXPECT_FALSE(FileExists(spec_.files[0]));
  EXPECT_FALSE(Open().ok());
}

TEST_F(DatasetTest, HoldsEveryDocumentInOrderForAnyNumberOfThreads) {
  std::string text;
  for (int i = 0; i < 1000; ++i) absl::StrAppend(&text, "q", i, ">a", i * 7, "\n\n");
  spec_.files = {Write("a.txt", text), Write("b.txt", "last>one")};
  std::string key;
  for (const int threads : {1, 3}) {
    SetNumThreads(threads);
    const auto dataset = Open();
    ASSERT_TRUE(dataset.ok()) << dataset.status();
    ASSERT_EQ((*dataset)->num_documents(), 1001);
    for (int i = 0; i < 1000; ++i) {
      const std::string want = absl::StrCat("q", i, ">a", i * 7);
      std::string got;
      for (const CachedToken token : (*dataset)->tokens(i)) got += static_cast<char>(token.id());
      ASSERT_EQ(got, want);
      EXPECT_EQ((*dataset)->document(i).num_supervised, absl::StrCat("a", i * 7).size());
    }
    EXPECT_EQ((*dataset)->Position(999), absl::StrCat(spec_.files[0], ":1999"));
    EXPECT_EQ((*dataset)->Position(1000), absl::StrCat(spec_.files[1], ":1"));
    if (!key.empty()) {
      EXPECT_EQ((*dataset)->key(), key);
    }
    key = (*dataset)->key();
    ASSERT_EQ(unlink(CachePath(**dataset).c_str()), 0);
  }
}

TEST_F(DatasetTest, WhatChangesTokensHasACacheOfItsOwn) {
  spec_.files = {Write("a.jsonl", "{\"text\":\"a>b\"}\n")};
  const DatasetSpec plain = spec_;
  std::set<std::string> keys;
  const std::vector<std::function<void()>> changes = {
      [] {},
      [&] { spec_.encoder_fingerprint = "other letters"; },
      [&] { spec_.example_options.system_prompt = "s"; },
      [&] { spec_.example_options.format = Format::kText; },
      [&] {
        spec_.example_options.columns = {{"prompt", "p"}};
      },
      [&] { spec_.skip_bad_documents = true; },
      [&] { spec_.files = {Write("b.jsonl", "{\"text\":\"a>c\"}\n")}; }};
  for (const auto& change : changes) {
    spec_ = plain;
    change();
    keys.insert((*Open())->key());
  }
  EXPECT_EQ(keys.size(), changes.size());
}

// A new version of the cache, or a file that is written otherwise, is no other run.
TEST_F(DatasetTest, TheContentIsWhatIsRead) {
  const auto content = [&](const std::string& lines) {
    spec_.files = {Write("a.jsonl", lines)};
    return (*Open())->ContentHash();
  };
  const std::string hash = content("{\"text\":\"a>b\"}\n{\"text\":\"c>d\"}\n");
  EXPECT_EQ(content("{ \"text\": \"a>b\" }\n\n{\"text\":\"c>d\", \"id\": 7}\n"), hash);
  EXPECT_NE(content("{\"text\":\"c>d\"}\n{\"text\":\"a>b\"}\n"), hash);
  EXPECT_NE(content("{\"text\":\"a>b\"}\n{\"text\":\"cd>\"}\n"), hash);
  EXPECT_NE(content("{\"text\":\"a>b\"}\n"), hash);
}

TEST_F(DatasetTest, KnowsTheFilesOwnKeysWhereThereAreColumns) {
  spec_.files = {Write("a.jsonl", "{\"body\":\"a>b\"}\n{\"body\":\"c>d\",\"text\":\"x\"}\n")};
  spec_.example_options.columns = {{"text", "body"}};
  for (int opened = 0; opened < 2; ++opened) {  // built, and from the cache
    const auto dataset = Open();
    ASSERT_TRUE(dataset.ok()) << dataset.status();
    EXPECT_EQ((*dataset)->keys(), (std::vector<std::string>{"body", "text"}));
  }
}

TEST_F(DatasetTest, TheSecondRunReadsTheCache) {
  spec_.files = {Write("a.txt", "x>y")};
  ASSERT_TRUE(Open().ok());
  EXPECT_GT(num_progress_, 0);
  ASSERT_TRUE(Open().ok());
  EXPECT_EQ(num_progress_, 0);
  Write("a.txt", "x>z");  // other content, other key
  ASSERT_TRUE(Open().ok());
  EXPECT_GT(num_progress_, 0);
}

TEST_F(DatasetTest, ATornOrForeignCacheIsBuiltAnew) {
  spec_.files = {Write("a.txt", "x>yes")};
  const std::string path = CachePath(**Open());
  const std::string whole = *ReadFile(path);
  std::vector<std::string> broken = {"", "foreign", whole.substr(0, whole.size() - 1), whole + "x"};
  for (const size_t at : {size_t{3}, size_t{40}, whole.size() / 2, whole.size() - 180,
                          whole.size() - 130, whole.size() - 100, whole.size() - 2}) {
    broken.push_back(whole);
    broken.back()[at] ^= 1;
  }
  for (const std::string& content : broken) {
    ASSERT_TRUE(WriteFileAtomically(path, content).ok());
    const auto dataset = Open();
    ASSERT_TRUE(dataset.ok());
    EXPECT_GT(num_progress_, 0) << "believed a broken cache";
    EXPECT_EQ((*dataset)->num_documents(), 1);
    EXPECT_EQ(*ReadFile(path), whole);
  }
}

TEST_F(DatasetTest, ProcessesThatStartAtOnceBuildOnce) {
  std::string text;
  for (int i = 0; i < 20000; ++i) absl::StrAppend(&text, "question ", i, ">answer\n\n");
  spec_.files = {Write("a.txt", text)};
  SetNumThreads(1);  // no threads may exist when the test forks
  for (int i = 0; i < 4; ++i) {
    if (fork() == 0) _exit(Open().ok() ? 0 : 1);
  }
  for (int i = 0; i < 4; ++i) {
    int status = 0;
    wait(&status);
    EXPECT_EQ(status, 0);
  }
  ASSERT_TRUE(Open().ok());
  EXPECT_EQ(num_progress_, 0);
}

TEST_F(DatasetTest, BadDocumentsStopOrAreCounted) {
  spec_.files = {Write("a.txt", "x>y\n\nbad\n\nz>w\n\nbad")};
  const auto refused = Open();
  EXPECT_TRUE(
      absl::StartsWith(refused.status().message(), "[" + spec_.files[0] + ":3] it is bad\nHINT: "));
  spec_.skip_bad_documents = true;
  const auto dataset = Open();
  ASSERT_TRUE(dataset.ok());
  EXPECT_EQ((*dataset)->num_documents(), 2);
  EXPECT_EQ((*dataset)->num_skipped(), 2);
  ASSERT_EQ((*dataset)->Remarks().size(), 2u);
  EXPECT_EQ((*dataset)->Remarks()[0], "skipped: [" + spec_.files[0] + ":3] it is bad");
}

TEST_F(DatasetTest, LongDocumentsFollowThePolicy) {
  spec_.files = {Write("a.txt", ">23456789\n\n>2345\n\nabc\n\nabcdef")};
  const auto dataset = *Open();
  const auto select = [&](LongDocuments policy) {
    return SelectPieces(*dataset, {.max_seq_length = 5, .long_documents = policy});
  };
  const Selection truncated = *select(LongDocuments::kTruncate);
  ASSERT_EQ(truncated.pieces.size(), 2u);
  EXPECT_EQ(truncated.pieces[0].end, 5u);
  EXPECT_EQ(truncated.pieces[0].num_supervised, 4u);
  EXPECT_EQ(truncated.num_truncated, 2);
  EXPECT_EQ(truncated.tokens_lost, 5);
  EXPECT_EQ(truncated.max_seq_length, 5);
  EXPECT_EQ(truncated.num_unsupervised, 2);
  const Selection split = *select(LongDocuments::kSplit);
  ASSERT_EQ(split.pieces.size(), 3u);
  EXPECT_EQ(split.pieces[1].begin, 5u);
  EXPECT_EQ(split.pieces[1].end, 9u);
  EXPECT_EQ(split.pieces[1].num_supervised, 3u);  // nothing predicts a piece's first token
  EXPECT_EQ(select(LongDocuments::kDrop)->pieces.size(), 1u);
  const auto refused = select(LongDocuments::kRefuse);
  EXPECT_NE(std::string(refused.status().message()).find("a.txt:1] want at most 5 tokens, got 9"),
            std::string::npos);
}

TEST_F(DatasetTest, TheValidationSplitKeepsDuplicatesTogetherAndIgnoresOrder) {
  std::string forward, backward;
  for (int i = 0; i < 100; ++i) absl::StrAppend(&forward, "d>", i % 60, "\n\n");
  for (int i = 99; i >= 0; --i) absl::StrAppend(&backward, "d>", i % 60, "\n\n");
  std::vector<std::multiset<uint64_t>> held_out;
  for (const std::string& text : {forward, backward}) {
    spec_.files = {Write("a.txt", text)};
    const auto dataset = *Open();
    const Split split = SplitByContent(*dataset, 0.1);
    EXPECT_GE(split.validation.size(), 10u);
    EXPECT_LE(split.validation.size(), 11u);
    EXPECT_EQ(split.validation.size() + split.train.size(), 100u);
    std::set<uint64_t> train;
    for (const int64_t i : split.train) train.insert(dataset->document(i).content_hash);
    std::multiset<uint64_t>& held = held_out.emplace_back();
    for (const int64_t i : split.validation) {
      held.insert(dataset->document(i).content_hash);
      EXPECT_FALSE(train.contains(dataset->document(i).content_hash));
    }
  }
  EXPECT_EQ(held_out[0], held_out[1]);
}

}  // namespace
}  // namespace lockstep::data
