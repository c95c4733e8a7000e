#include "data/jinja/expression_parser.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace lockstep::data::jinja {

namespace {

constexpr int kMaxNesting = 100;    // brackets and blocks within each other
constexpr int kMaxTreeDepth = 400;  // chains such as a + b + c …

}  // namespace

ExpressionParser::Nesting::Nesting(ExpressionParser& parser) : parser_(parser) {
  if (++parser_.nesting_ > kMaxNesting) {
    --parser_.nesting_;
    parser_.Fail("the template is nested too deeply");
  }
}

void ExpressionParser::Fail(const std::string& message, int line) const {
  throw TemplateError(message, line > 0 ? line : Current().line);
}

Token ExpressionParser::Take() {
  Token token = tokens_[at_];
  if (at_ + 1 < tokens_.size()) ++at_;
  return token;
}

bool ExpressionParser::IsName(absl::string_view name) const {
  return Current().kind == Token::kName && Current().text == name;
}
bool ExpressionParser::IsOperator(absl::string_view op) const {
  return Current().kind == Token::kOperator && Current().text == op;
}
bool ExpressionParser::SkipName(absl::string_view name) {
  if (!IsName(name)) return false;
  Take();
  return true;
}
bool ExpressionParser::SkipOperator(absl::string_view op) {
  if (!IsOperator(op)) return false;
  Take();
  return true;
}
void ExpressionParser::ExpectOperator(absl::string_view op) {
  if (!SkipOperator(op)) {
    Fail(absl::StrCat("expected token '", op, "', got '", Describe(Current()), "'"));
  }
}
void ExpressionParser::ExpectName(absl::string_view name) {
  if (!SkipName(name)) {
    Fail(absl::StrCat("expected token '", name, "', got '", Describe(Current()), "'"));
  }
}
std::string ExpressionParser::ExpectAnyName() {
  if (Current().kind != Token::kName) {
    Fail(absl::StrCat("expected token 'name', got '", Describe(Current()), "'"));
  }
  return Take().text;
}
void ExpressionParser::Expect(Token::Kind kind, absl::string_view what) {
  if (Current().kind != kind) {
    Fail(absl::StrCat("expected token '", what, "', got '", Describe(Current()), "'"));
  }
  Take();
}

ExprPtr ExpressionParser::Make(Expr::Kind kind, int line) {
  auto node = std::make_unique<Expr>();
  node->kind = kind;
  node->line = line;
  return node;
}

ExprPtr ExpressionParser::Finish(ExprPtr node) const {
  const auto include = [&](const ExprPtr& child) {
    if (child) node->depth = std::max(node->depth, child->depth + 1);
  };
  for (const ExprPtr& child : node->operands) include(child);
  for (const ExprPtr& child : node->call.positional) include(child);
  for (const auto& [name, child] : node->call.keyword) include(child);
  include(node->call.starred);
  include(node->call.double_starred);
  if (node->depth > kMaxTreeDepth) Fail("the expression is too long", node->line);
  return node;
}

ExprPtr ExpressionParser::Two(Expr::Kind kind, int line, ExprPtr left, ExprPtr right) {
  ExprPtr node = Make(kind, line);
  node->operands.push_back(std::move(left));
  node->operands.push_back(std::move(right));
  return Finish(std::move(node));
}

ExprPtr ExpressionParser::ParseExpression(bool with_condition) {
  const Nesting nesting(*this);
  return with_condition ? ParseConditional() : ParseOr();
}

ExprPtr ExpressionParser::ParseConditional() {
  int line = Current().line;
  ExprPtr node = ParseOr();
  while (SkipName("if")) {
    ExprPtr conditional = Make(Expr::kConditional, line);
    conditional->operands.push_back(ParseOr());
    conditional->operands.push_back(std::move(node));
    conditional->operands.push_back(nullptr);
    if (SkipName("else")) {
      const Nesting nesting(*this);
      conditional->operands[2] = ParseConditional();
    }
    node = Finish(std::move(conditional));
    line = Current().line;
  }
  return node;
}

ExprPtr ExpressionParser::ParseOr() {
  const int line = Current().line;
  ExprPtr left = ParseAnd();
  while (SkipName("or")) left = Two(Expr::kOr, line, std::move(left), ParseAnd());
  return left;
}

ExprPtr ExpressionParser::ParseAnd() {
  const int line = Current().line;
  ExprPtr left = ParseNot();
  while (SkipName("and")) left = Two(Expr::kAnd, line, std::move(left), ParseNot());
  return left;
}

ExprPtr ExpressionParser::ParseNot() {
  if (!IsName("not")) return ParseComparison();
  const Nesting nesting(*this);
  ExprPtr node = Make(Expr::kNot, Take().line);
  node->operands.push_back(ParseNot());
  return Finish(std::move(node));
}

ExprPtr ExpressionParser::ParseComparison() {
  constexpr std::pair<absl::string_view, Operator> kComparisons[] = {
      {"==", Operator::kEqual},     {"!=", Operator::kNotEqual}, {"<", Operator::kLess},
      {"<=", Operator::kLessEqual}, {">", Operator::kGreater},   {">=", Operator::kGreaterEqual}};
  ExprPtr first = ParseSum();
  ExprPtr node = Make(Expr::kCompare, Current().line);
  const auto next = [&](Operator op) {
    node->operators.push_back(op);
    node->operands.push_back(ParseSum());
  };
  while (true) {
    const auto* found =
        std::find_if(std::begin(kComparisons), std::end(kComparisons),
                     [&](const auto& comparison) { return IsOperator(comparison.first); });
    if (found != std::end(kComparisons)) {
      Take();
      next(found->second);
    } else if (SkipName("in")) {
      next(Operator::kIn);
    } else if (IsName("not") && Ahead().kind == Token::kName && Ahead().text == "in") {
      Take();
      Take();
      next(Operator::kNotIn);
    } else {
      break;
    }
  }
  if (node->operators.empty()) return first;
  node->operands.insert(node->operands.begin(), std::move(first));
  return Finish(std::move(node));
}

ExprPtr ExpressionParser::ParseSum() {
  const int line = Current().line;
  ExprPtr left = ParseConcatenation();
  while (IsOperator("+") || IsOperator("-")) {
    const Operator op = Take().text == "+" ? Operator::kAdd : Operator::kSubtract;
    left = Two(Expr::kBinary, line, std::move(left), ParseConcatenation());
    left->operators = {op};
  }
  return left;
}

ExprPtr ExpressionParser::ParseConcatenation() {
  ExprPtr first = ParseProduct();
  if (!IsOperator("~")) return first;
  ExprPtr node = Make(Expr::kConcatenate, first->line);
  node->operands.push_back(std::move(first));
  while (SkipOperator("~")) node->operands.push_back(ParseProduct());
  return Finish(std::move(node));
}

ExprPtr ExpressionParser::ParseProduct() {
  constexpr std::pair<absl::string_view, Operator> kProducts[] = {{"*", Operator::kMultiply},
                                                                  {"/", Operator::kDivide},
                                                                  {"//", Operator::kFloorDivide},
                                                                  {"%", Operator::kModulo}};
  const int line = Current().line;
  ExprPtr left = ParsePower();
  while (true) {
    const auto* found =
        std::find_if(std::begin(kProducts), std::end(kProducts),
                     [&](const auto& product) { return IsOperator(product.first); });
    if (found == std::end(kProducts)) return left;
    Take();
    left = Two(Expr::kBinary, line, std::move(left), ParsePower());
    left->operators = {found->second};
  }
}

ExprPtr ExpressionParser::ParsePower() {
  const int line = Current().line;
  ExprPtr left = ParseUnary();
  while (SkipOperator("**")) {
    left = Two(Expr::kBinary, line, std::move(left), ParseUnary());
    left->operators = {Operator::kPower};
  }
  return left;
}

ExprPtr ExpressionParser::ParseUnary(bool with_filter) {
  ExprPtr node;
  if (IsOperator("-") || IsOperator("+")) {
    const Nesting nesting(*this);
    const Token sign = Take();
    node = Make(sign.text == "-" ? Expr::kNegate : Expr::kPlus, sign.line);
    node->operands.push_back(ParseUnary(/*with_filter=*/false));
    node = Finish(std::move(node));
  } else {
    node = ParsePrimary();
  }
  node = ParsePostfix(std::move(node));
  return with_filter ? ParseFilterExpression(std::move(node)) : std::move(node);
}

ExprPtr ExpressionParser::ParsePrimary(bool with_namespace) {
  const Token& token = Current();
  const int line = token.line;
  if (token.kind == Token::kName) {
    const std::string name = Take().text;
    ExprPtr node = Make(Expr::kConstant, line);
    if (name == "true" || name == "True" || name == "false" || name == "False") {
      node->constant = Value::Bool(name == "true" || name == "True");
    } else if (name == "none" || name == "None") {
      node->constant = Value::None();
    } else {
      node->name = name;
      node->kind = Expr::kName;
      if (with_namespace && SkipOperator(".")) {
        node->kind = Expr::kNamespaceAttribute;
        node->constant = Value::String(ExpectAnyName());
      }
      macro_names_.caller |= name == "caller";
      macro_names_.kwargs |= name == "kwargs";
      macro_names_.varargs |= name == "varargs";
    }
    return node;
  }
  if (token.kind == Token::kString) {
    std::string text;
    while (Current().kind == Token::kString) text += Take().text;
    ExprPtr node = Make(Expr::kConstant, line);
    node->constant = Value::String(std::move(text));
    return node;
  }
  if (token.kind == Token::kInteger || token.kind == Token::kFloat) {
    ExprPtr node = Make(Expr::kConstant, line);
    node->constant = Take().value;
    return node;
  }
  if (SkipOperator("(")) {
    ExprPtr node = ParseTuple(/*with_condition=*/true, "", /*explicit_parentheses=*/true);
    ExpectOperator(")");
    return node;
  }
  if (IsOperator("[")) return ParseList();
  if (IsOperator("{")) return ParseDict();
  Fail(absl::StrCat("unexpected '", Describe(token), "'"));
}

ExprPtr ExpressionParser::ParseTuple(bool with_condition, absl::string_view end_name,
                                     bool explicit_parentheses) {
  const int line = Current().line;
  const auto at_end = [&] {
    return Current().kind == Token::kVariableEnd || Current().kind == Token::kBlockEnd ||
           IsOperator(")") || (!end_name.empty() && IsName(end_name));
  };
  ExprPtr tuple = Make(Expr::kTuple, line);
  bool is_tuple = false;
  while (true) {
    if (!tuple->operands.empty()) ExpectOperator(",");
    if (at_end()) break;
    tuple->operands.push_back(ParseExpression(with_condition));
    if (!IsOperator(",")) break;
    is_tuple = true;
  }
  if (is_tuple) return Finish(std::move(tuple));
  if (!tuple->operands.empty()) return std::move(tuple->operands[0]);
  if (!explicit_parentheses) {
    Fail(absl::StrCat("Expected an expression, got '", Describe(Current()), "'"));
  }
  return tuple;
}

ExprPtr ExpressionParser::ParseNameTarget() {
  ExprPtr node = Make(Expr::kName, Current().line);
  node->name = ExpectAnyName();
  return node;
}

ExprPtr ExpressionParser::ParseTarget(absl::string_view end_name, bool with_namespace) {
  const Nesting nesting(*this);
  const int line = Current().line;
  const auto at_end = [&] {
    return Current().kind == Token::kVariableEnd || Current().kind == Token::kBlockEnd ||
           IsOperator(")") || IsOperator("=") || (!end_name.empty() && IsName(end_name));
  };
  const auto one = [&]() -> ExprPtr {
    if (SkipOperator("(")) {
      ExprPtr inner = ParseTarget("", with_namespace);
      ExpectOperator(")");
      return inner;
    }
    const MacroNames before = macro_names_;  // a target is no use of a name
    ExprPtr node = ParsePrimary(with_namespace);
    macro_names_ = before;
    const bool assignable = (node->kind == Expr::kName || node->kind == Expr::kNamespaceAttribute);
    if (!assignable) Fail("can't assign to that expression", node->line);
    return node;
  };
  ExprPtr tuple = Make(Expr::kTuple, line);
  bool is_tuple = false;
  while (true) {
    if (!tuple->operands.empty()) ExpectOperator(",");
    if (at_end()) break;
    tuple->operands.push_back(one());
    if (!IsOperator(",")) break;
    is_tuple = true;
  }
  if (is_tuple) return Finish(std::move(tuple));
  if (tuple->operands.empty()) {
    Fail(absl::StrCat("Expected an expression, got '", Describe(Current()), "'"));
  }
  return std::move(tuple->operands[0]);
}

ExprPtr ExpressionParser::ParseList() {
  ExprPtr node = Make(Expr::kList, Take().line);
  while (!IsOperator("]")) {
    if (!node->operands.empty()) ExpectOperator(",");
    if (IsOperator("]")) break;
    node->operands.push_back(ParseExpression());
  }
  Take();
  return Finish(std::move(node));
}

ExprPtr ExpressionParser::ParseDict() {
  ExprPtr node = Make(Expr::kDict, Take().line);
  while (!IsOperator("}")) {
    if (!node->operands.empty()) ExpectOperator(",");
    if (IsOperator("}")) break;
    node->operands.push_back(ParseExpression());
    ExpectOperator(":");
    node->operands.push_back(ParseExpression());
  }
  Take();
  return Finish(std::move(node));
}

}  // namespace lockstep::data::jinja
