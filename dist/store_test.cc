#include "dist/store.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <chrono>
#include <random>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "dist/socket.h"

namespace lockstep::dist {
namespace {

using namespace std::chrono_literals;  // NOLINT

class StoreTest : public ::testing::Test {
 protected:
  StoreTest() : token_(RandomToken()) {
    auto server = StoreServer::Start("127.0.0.1", 0, 1, token_);
    EXPECT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }
  std::unique_ptr<StoreClient> Connect() {
    auto client = StoreClient::Connect("127.0.0.1", server_->port(), 1, token_, 10s);
    EXPECT_TRUE(client.ok()) << client.status();
    return *std::move(client);
  }
  Fd Stranger() { return *ConnectTo("127.0.0.1", server_->port(), 5s); }

  const std::string token_;
  std::unique_ptr<StoreServer> server_;
};

TEST_F(StoreTest, SetGetAddList) {
  const auto a = Connect(), b = Connect();
  EXPECT_FALSE(a->Get("beat/0")->has_value());
  ASSERT_TRUE(a->Set("beat/0", std::string("\0binary\xff", 8)).ok());
  EXPECT_EQ(**b->Get("beat/0"), std::string("\0binary\xff", 8));
  ASSERT_TRUE(b->Set("beat/1", "").ok());
  ASSERT_TRUE(b->Set("other", "x").ok());
  EXPECT_EQ(a->List("beat/")->size(), 2u);
  EXPECT_EQ(*a->Add("count", 3), 3);
  EXPECT_EQ(*b->Add("count", -5), -2);
  EXPECT_EQ(a->local_address(), "127.0.0.1");
}

TEST_F(StoreTest, WaitReturnsWhenTheKeyArrivesOrTimeIsUp) {
  const auto a = Connect(), b = Connect();
  EXPECT_TRUE(absl::IsDeadlineExceeded(a->Wait("key", 150ms).status()));
  std::thread setter([&b] {
    std::this_thread::sleep_for(50ms);
    ASSERT_TRUE(b->Set("key", "value").ok());
  });
  EXPECT_EQ(*a->Wait("key", 20s), "value");
  setter.join();
}

TEST_F(StoreTest, ValuesUpToTheLimit) {
  const auto client = Connect();
  const std::string large(kMaxMessageBytes - 100, 'v');
  ASSERT_TRUE(client->Set("large", large).ok());
  EXPECT_EQ(**client->Get("large"), large);
}

TEST_F(StoreTest, ManyClientsCountTogether) {
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([this] {
      const auto client = Connect();
      for (int j = 0; j < 50; ++j) ASSERT_TRUE(client->Add("count", 1).ok());
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(*Connect()->Add("count", 0), 400);
}

TEST_F(StoreTest, StrangersChangeNothing) {
  const auto client = Connect();
  ASSERT_TRUE(client->Set("key", "value").ok());

  std::vector<Fd> silent;  // more than the server keeps
  for (int i = 0; i < 100; ++i) silent.push_back(Stranger());

  std::mt19937 random(11);
  for (int i = 0; i < 50; ++i) {
    std::string garbage(1 + random() % 3000, '\0');
    for (char& c : garbage) c = static_cast<char>(random());
    if (i % 3 == 0) garbage = absl::StrCat("LKSTORE1", garbage);  // the magic, a wrong token
    if (i % 3 == 1) garbage = "GET / HTTP/1.1\r\n\r\n";
    Fd stranger = Stranger();
    (void)WriteFull(stranger, garbage.data(), garbage.size(), 1s);
    char answer;
    EXPECT_FALSE(ReadFull(stranger, &answer, 1, 7s).ok());  // closed without a word
  }
  EXPECT_EQ(**client->Get("key"), "value");
  EXPECT_EQ(Connect()->List("")->size(), 1u);
}

TEST_F(StoreTest, OfTooManyStrangersTheOldestGoAtOnceAndAllInTheEnd) {
  std::vector<Fd> silent;
  for (int i = 0; i < 100; ++i) silent.push_back(Stranger());
  char bytes[8];
  EXPECT_TRUE(absl::IsUnavailable(ReadFull(silent.front(), bytes, 1, 60s)));
  const std::string hello = absl::StrCat("LKSTORE1", token_);  // the newest has its time
  ASSERT_TRUE(WriteFull(silent.back(), hello.data(), hello.size(), 1s).ok());
  EXPECT_TRUE(ReadFull(silent.back(), bytes, sizeof(bytes), 60s).ok());
  EXPECT_TRUE(absl::IsUnavailable(ReadFull(silent[98], bytes, 1, 60s)));
}

TEST(Store, ServesMoreClientsThanTheUsualLimitOnFiles) {
  rlimit files;
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &files), 0);
  if (files.rlim_max < 500)
    GTEST_SKIP() << "more than " << files.rlim_max << " files are forbidden";
  files.rlim_cur = 100;
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &files), 0);
  const auto server = StoreServer::Start("127.0.0.1", 0, 1, "token");
  ASSERT_TRUE(server.ok()) << server.status();
  std::vector<std::unique_ptr<StoreClient>> clients;
  for (int i = 0; i < 150; ++i) {
    auto client = StoreClient::Connect("127.0.0.1", (*server)->port(), 1, "token", 10s);
    ASSERT_TRUE(client.ok()) << client.status();
    clients.push_back(*std::move(client));
  }
  EXPECT_EQ(*clients.back()->Add("count", 1), 1);
}

TEST(Store, AfterAMalformedAnswerNoLaterOneIsTaken) {
  const Fd listener = *Listen("127.0.0.1", 0);
  std::thread server([&listener] {
    pollfd waiting = {listener.get(), POLLIN, 0};
    ASSERT_EQ(poll(&waiting, 1, 60'000), 1);
    const Fd client(accept(listener.get(), nullptr, nullptr));
    const std::string answers("LKSTORE1\0\0\0\0\2\0\0\0\0v", 18);  // none; "v" is there
    ASSERT_TRUE(WriteFull(client, answers.data(), answers.size(), 10s).ok());
    char rest;
    while (ReadFull(client, &rest, 1, 60s).ok()) {
    }
  });
  {
    const auto client = *StoreClient::Connect("127.0.0.1", LocalPort(listener), 1, "t", 10s);
    EXPECT_TRUE(absl::IsUnavailable(client->Get("key").status()));
    EXPECT_TRUE(absl::IsUnavailable(client->Get("key").status()));
  }
  server.join();
}

TEST_F(StoreTest, AKnownClientThatBreaksTheFormatIsClosed) {
  for (const std::string& request :
       {std::string("\xff\xff\xff\xff", 4),                         // a length of 4 GiB
        std::string("\x01\x00\x00\x00\x09", 5),                     // no such operation
        std::string("\x05\x00\x00\x00\x02\xff\xff\xff\x7f", 9)}) {  // a key longer than the message
    Fd raw = Stranger();
    const std::string hello = absl::StrCat("LKSTORE1", token_);
    ASSERT_TRUE(WriteFull(raw, hello.data(), hello.size(), 1s).ok());
    char magic[8];
    ASSERT_TRUE(ReadFull(raw, magic, 8, 5s).ok());
    ASSERT_TRUE(WriteFull(raw, request.data(), request.size(), 1s).ok());
    EXPECT_TRUE(absl::IsUnavailable(ReadFull(raw, magic, 1, 5s)));
  }
  EXPECT_TRUE(Connect()->Set("still", "here").ok());
}

TEST_F(StoreTest, AnotherRunsTokenIsRefusedAndNamed) {
  const auto client = StoreClient::Connect("127.0.0.1", server_->port(), 1, RandomToken(), 200ms);
  ASSERT_TRUE(absl::IsDeadlineExceeded(client.status()));
  EXPECT_NE(client.status().message().find("not this run's store"), absl::string_view::npos);
}

TEST_F(StoreTest, OccupiedPortsAreSkippedAndTheOthersFindTheStore) {
  // This test's own server plays whoever has the first port.
  const std::string token = RandomToken();
  auto second = StoreServer::Start("127.0.0.1", server_->port(), 16, token);
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_GT((*second)->port(), server_->port());
  auto client = StoreClient::Connect("127.0.0.1", server_->port(), 16, token, 10s);
  ASSERT_TRUE(client.ok()) << client.status();
  EXPECT_EQ((*client)->port(), (*second)->port());
}

TEST_F(StoreTest, ALostServerIsAnErrorAtOnce) {
  const auto client = Connect();
  std::thread killer([this] {
    std::this_thread::sleep_for(50ms);
    server_.reset();
  });
  EXPECT_TRUE(absl::IsUnavailable(client->Wait("never", 60s).status()));
  EXPECT_TRUE(absl::IsUnavailable(client->Set("a", "b")));
  killer.join();
}

// Calls to a port that nobody listens on go through all of the caller's own ports in turn; the one
// that meets itself is not a connection.
TEST(Store, NobodyIsConnectedWithItself) {
  int connected = 0;
  for (int i = 0; i < 30000; ++i) {
    connected += ConnectTo("127.0.0.1", 40000, std::chrono::milliseconds(1000)).ok();
  }
  EXPECT_TRUE(connected == 0 || connected == 30000) << connected;  // all: somebody else is there
}

TEST(Store, AnAddressThatIsNotOursIsSaid) {
  const auto server = StoreServer::Start("192.0.2.1", 0, 1, "t");
  EXPECT_TRUE(absl::IsFailedPrecondition(server.status())) << server.status();
}

TEST(Store, TokensDiffer) {
  EXPECT_EQ(RandomToken().size(), kTokenBytes);
  EXPECT_NE(RandomToken(), RandomToken());
}

}  // namespace
}  // namespace lockstep::dist
