#include "examples/market.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

namespace lockstep::examples {
namespace {

using Words = std::vector<std::string>;

const Words kNames = {"Mia",  "Tom",  "Lea",  "Ben",  "Ida",  "Max",  "Eva", "Leo",
                      "Nora", "Paul", "Rosa", "Finn", "Lina", "Jon",  "Ada", "Karl",
                      "Emma", "Otto", "Vera", "Hugo", "Mara", "Emil", "Zoe", "Anton"};
const Words kNumbers = {"one", "two", "three", "four", "five", "six", "seven", "eight", "nine"};
const Words kAdjectives = {"red",   "green", "fresh", "sweet", "big",
                           "small", "ripe",  "brown", "round", "cheap"};
const std::vector<std::pair<std::string, std::string>> kGoods = {
    {"apple", "apples"}, {"pear", "pears"},     {"plum", "plums"},     {"lemon", "lemons"},
    {"melon", "melons"}, {"carrot", "carrots"}, {"onion", "onions"},   {"bean", "beans"},
    {"egg", "eggs"},     {"roll", "rolls"},     {"cake", "cakes"},     {"cookie", "cookies"},
    {"fish", "fish"},    {"basket", "baskets"}, {"candle", "candles"}, {"rose", "roses"},
    {"tulip", "tulips"}, {"button", "buttons"}, {"ribbon", "ribbons"}, {"brush", "brushes"}};
const Words kSellers = {"baker", "farmer", "fisher", "gardener", "old woman", "young man"};
const Words kDays = {"Monday", "Tuesday", "Friday", "Saturday"};
const Words kWeather = {"sunny", "rainy", "cold", "warm", "windy"};
const Words kBags = {"bag", "box", "cart", "bucket"};

Wish MakeWish(Random& random) {
  const auto& [singular, plural] = kGoods[random.Below(static_cast<int>(kGoods.size()))];
  return {1 + random.Below(9), random.Of(kAdjectives), singular, plural};
}

std::string List(const std::vector<Wish>& wishes) {
  std::string text;
  for (size_t i = 0; i < wishes.size(); ++i) {
    const bool last = i + 1 == wishes.size();
    absl::StrAppend(&text, i == 0 ? "" : last ? " and " : ", ", wishes[i].Words());
  }
  return text;
}

// "3 x red apple", as it stands on a slip.
std::string Short(const std::vector<Wish>& wishes, const char* between) {
  std::string text;
  for (const Wish& wish : wishes) {
    absl::StrAppend(&text, text.empty() ? "" : between, wish.count, " x ", wish.adjective, " ",
                    wish.singular);
  }
  return text;
}

std::vector<Wish> MakeWishes(Random& random) {
  std::vector<Wish> wishes(1 + random.Below(3));
  for (Wish& wish : wishes) wish = MakeWish(random);
  return wishes;
}

const Words kBeginnings = {
    "It was a WEATHER DAY, and NAME went to the market.",
    "On DAY NAME walked to the market with a BAG.",
    "NAME liked the market on a WEATHER day.",
    "Every DAY NAME came to the market to see the SELLER.",
};
// The same things come back in a story: who reads it learns to look back.
const Words kMiddles = {
    "NAME bought ITEMS. The SELLER put ITEMS in the BAG.",
    "The SELLER had ITEMS, and NAME took ITEMS home.",
    "NAME looked for ITEMS and found OTHERS. So NAME took OTHERS.",
    "NAME asked the SELLER for ITEMS. There they were, ITEMS.",
    "FRIEND came too and wanted OTHERS. So FRIEND got OTHERS, and NAME got ITEMS.",
    "NAME gave ITEMS to FRIEND. FRIEND put ITEMS in the BAG.",
    "NAME wanted ITEMS. The SELLER wrote: SHORT. So NAME got ITEMS.",
    "In the BAG were ITEMS, in short: SHORT.",
    "A sign said ORDER HERE. NAME took ITEMS, in short: SHORT.",
};
const Words kEndings = {
    "Then NAME went home.",
    "NAME and FRIEND walked home in the WEATHER evening.",
    "The SELLER was happy, and so was NAME.",
    "At home NAME put the BAG on the table.",
};

}  // namespace

uint64_t Random::Next() {
  uint64_t z = (state_ += 0x9E3779B97F4A7C15ull);
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
  return z ^ (z >> 31);
}

std::string Wish::Words() const {
  return absl::StrCat(kNumbers[count - 1], " ", adjective, " ", count == 1 ? singular : plural);
}

std::string Story(Random& random) {
  const std::string name = random.Of(kNames), seller = random.Of(kSellers), bag = random.Of(kBags);
  std::string text = random.Of(kBeginnings);
  for (int i = 2 + random.Below(3); i > 0; --i) {
    const std::vector<Wish> wishes = MakeWishes(random);
    const std::string middle =
        absl::StrReplaceAll(random.Of(kMiddles), {{"ITEMS", List(wishes)},
                                                  {"SHORT", Short(wishes, ", ")},
                                                  {"OTHERS", List({MakeWish(random)})},
                                                  {"FRIEND", random.Of(kNames)}});
    absl::StrAppend(&text, random.Below(3) == 0 ? "\n" : " ", middle);
  }
  absl::StrAppend(&text, " ", random.Of(kEndings));
  return absl::StrReplaceAll(text, {{"NAME", name},
                                    {"SELLER", seller},
                                    {"BAG", bag},
                                    {"FRIEND", random.Of(kNames)},
                                    {"DAY", random.Of(kDays)},
                                    {"WEATHER", random.Of(kWeather)}});
}

Order MakeOrder(Random& random) {
  static const Words kAsks = {
      "NAME would like to have ITEMS.", "NAME asked for ITEMS.",
      "Please send ITEMS to NAME.",     "NAME wants ITEMS.",
      "ITEMS for NAME, please.",
  };
  const std::string name = random.Of(kNames);
  const std::vector<Wish> wishes = MakeWishes(random);
  Order order;
  order.instruction =
      absl::StrReplaceAll(random.Of(kAsks), {{"NAME", name}, {"ITEMS", List(wishes)}});
  order.output = absl::StrCat("ORDER FOR ", name, "\n", Short(wishes, "\n"));
  return order;
}

}  // namespace lockstep::examples
