// The half of ExpressionParser that reads what follows a value: attributes and subscripts, calls
// and their arguments, filters, tests.
#include <string>
#include <utility>

#include "data/jinja/expression_parser.h"

namespace lockstep::data::jinja {

ExprPtr ExpressionParser::ParsePostfix(ExprPtr node) {
  while (true) {
    if (IsOperator(".") || IsOperator("[")) {
      node = ParseSubscript(std::move(node));
    } else if (IsOperator("(")) {
      node = ParseCall(std::move(node));
    } else {
      return node;
    }
  }
}

ExprPtr ExpressionParser::ParseFilterExpression(ExprPtr node) {
  while (true) {
    if (IsOperator("|")) {
      node = ParseFilters(std::move(node), /*start_inline=*/false);
    } else if (IsName("is")) {
      node = ParseTest(std::move(node));
    } else if (IsOperator("(")) {
      node = ParseCall(std::move(node));
    } else {
      return node;
    }
  }
}

ExprPtr ExpressionParser::ParseSubscript(ExprPtr node) {
  const Token token = Take();
  if (token.text == ".") {
    const Token attribute = Take();
    if (attribute.kind == Token::kName) {
      ExprPtr out = Make(Expr::kAttribute, token.line);
      out->operands.push_back(std::move(node));
      out->constant = Value::String(attribute.text);
      return Finish(std::move(out));
    }
    if (attribute.kind != Token::kInteger) Fail("expected name or number", attribute.line);
    ExprPtr index = Make(Expr::kConstant, attribute.line);
    index->constant = attribute.value;
    return Two(Expr::kItem, token.line, std::move(node), std::move(index));
  }
  ExprPtr tuple = Make(Expr::kTuple, token.line);
  while (!IsOperator("]")) {
    if (!tuple->operands.empty()) ExpectOperator(",");
    tuple->operands.push_back(ParseSubscribed());
  }
  Take();
  const bool single = tuple->operands.size() == 1;
  ExprPtr index = single ? std::move(tuple->operands[0]) : Finish(std::move(tuple));
  return Two(Expr::kItem, token.line, std::move(node), std::move(index));
}

ExprPtr ExpressionParser::ParseSubscribed() {
  ExprPtr slice = Make(Expr::kSlice, Current().line);
  slice->operands.resize(3);
  if (!IsOperator(":")) {
    ExprPtr node = ParseExpression();
    if (!IsOperator(":")) return node;
    slice->operands[0] = std::move(node);
  }
  Take();
  const auto bound = [&](size_t i) {
    if (!IsOperator("]") && !IsOperator(",")) slice->operands[i] = ParseExpression();
  };
  if (!IsOperator(":")) bound(1);
  if (SkipOperator(":")) bound(2);
  return Finish(std::move(slice));
}

CallArguments ExpressionParser::ParseArguments() {
  const int line = Current().line;
  ExpectOperator("(");
  CallArguments out;
  bool comma = false;
  const auto ensure = [&](bool fits) {
    if (!fits) Fail("invalid syntax for function call expression", line);
  };
  while (!IsOperator(")")) {
    if (comma) {
      ExpectOperator(",");
      if (IsOperator(")")) break;
    }
    if (SkipOperator("*")) {
      ensure(!out.starred && !out.double_starred);
      out.starred = ParseExpression();
    } else if (SkipOperator("**")) {
      ensure(!out.double_starred);
      out.double_starred = ParseExpression();
    } else if (Current().kind == Token::kName && Ahead().kind == Token::kOperator &&
               Ahead().text == "=") {
      ensure(!out.double_starred);
      std::string name = Take().text;
      Take();
      out.keyword.emplace_back(std::move(name), ParseExpression());
    } else {
      ensure(!out.starred && !out.double_starred && out.keyword.empty());
      out.positional.push_back(ParseExpression());
    }
    comma = true;
  }
  Take();
  return out;
}

ExprPtr ExpressionParser::ParseCall(ExprPtr node) {
  ExprPtr call = Make(Expr::kCall, Current().line);
  call->operands.push_back(std::move(node));
  call->call = ParseArguments();
  return Finish(std::move(call));
}

std::string ExpressionParser::ParseDottedName() {
  std::string name = ExpectAnyName();
  while (SkipOperator(".")) absl::StrAppend(&name, ".", ExpectAnyName());
  return name;
}

ExprPtr ExpressionParser::ParseFilters(ExprPtr node, bool start_inline) {
  while (IsOperator("|") || start_inline) {
    if (!start_inline) Take();
    start_inline = false;
    ExprPtr filter = Make(Expr::kFilter, Current().line);
    filter->name = ParseDottedName();
    filter->operands.push_back(std::move(node));
    if (IsOperator("(")) filter->call = ParseArguments();
    node = Finish(std::move(filter));
  }
  return node;
}

ExprPtr ExpressionParser::ParseTest(ExprPtr node) {
  const int line = Take().line;
  const bool negated = SkipName("not");
  ExprPtr test = Make(Expr::kTest, line);
  test->operands.push_back(std::move(node));
  test->name = ParseDottedName();
  const Token& token = Current();
  const bool starts_argument =
      token.kind == Token::kString || token.kind == Token::kInteger ||
      token.kind == Token::kFloat || IsOperator("[") || IsOperator("{") ||
      (token.kind == Token::kName && !IsName("else") && !IsName("or") && !IsName("and"));
  if (IsOperator("(")) {
    test->call = ParseArguments();
  } else if (starts_argument) {
    if (IsName("is")) Fail("You cannot chain multiple tests with is");
    test->call.positional.push_back(ParsePostfix(ParsePrimary()));
  }
  test = Finish(std::move(test));
  if (!negated) return test;
  ExprPtr out = Make(Expr::kNot, line);
  out->operands.push_back(std::move(test));
  return Finish(std::move(out));
}

}  // namespace lockstep::data::jinja
