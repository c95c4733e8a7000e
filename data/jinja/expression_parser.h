// The expressions of the grammar, and the token stream that statements share with them.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "data/jinja/ast.h"
#include "data/jinja/lexer.h"

namespace lockstep::data::jinja {

class ExpressionParser {
 public:
  explicit ExpressionParser(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

 protected:
  // The token stream.
  const Token& Current() const { return tokens_[at_]; }
  const Token& Ahead() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
  Token Take();
  bool IsName(absl::string_view name) const;
  bool IsOperator(absl::string_view op) const;
  bool SkipName(absl::string_view name);
  bool SkipOperator(absl::string_view op);
  void ExpectOperator(absl::string_view op);
  void ExpectName(absl::string_view name);
  std::string ExpectAnyName();
  void Expect(Token::Kind kind, absl::string_view what);
  [[noreturn]] void Fail(const std::string& message, int line = 0) const;

  // tuple: "a, b" without brackets may stand here.
  ExprPtr ParseTuple(bool with_condition = true, absl::string_view end_name = "",
                     bool explicit_parentheses = false);
  ExprPtr ParseExpression(bool with_condition = true);
  // A name, a tuple of names, or with `with_namespace` also `name.attribute`.
  ExprPtr ParseTarget(absl::string_view end_name, bool with_namespace);
  ExprPtr ParseNameTarget();
  // The chain of filters at hand; `node` null: applied to a block's text. `start_inline`: the
  // first has no `|`.
  ExprPtr ParseFilters(ExprPtr node, bool start_inline);

  static ExprPtr Make(Expr::Kind kind, int line);

  // Special names of macros that the expressions so far have used; a macro's parser resets it.
  struct MacroNames {
    bool caller = false, kwargs = false, varargs = false;
  };
  MacroNames macro_names_;

  // Guards the parser's recursion.
  class Nesting {
   public:
    explicit Nesting(ExpressionParser& parser);
    ~Nesting() { --parser_.nesting_; }

   private:
    ExpressionParser& parser_;
  };

 private:
  ExprPtr ParseConditional();
  ExprPtr ParseOr();
  ExprPtr ParseAnd();
  ExprPtr ParseNot();
  ExprPtr ParseComparison();
  ExprPtr ParseSum();
  ExprPtr ParseConcatenation();
  ExprPtr ParseProduct();
  ExprPtr ParsePower();
  ExprPtr ParseUnary(bool with_filter = true);
  ExprPtr ParsePrimary(bool with_namespace = false);
  ExprPtr ParsePostfix(ExprPtr node);
  ExprPtr ParseFilterExpression(ExprPtr node);
  ExprPtr ParseSubscript(ExprPtr node);
  ExprPtr ParseSubscribed();
  ExprPtr ParseCall(ExprPtr node);
  ExprPtr ParseTest(ExprPtr node);
  ExprPtr ParseList();
  ExprPtr ParseDict();
  CallArguments ParseArguments();
  std::string ParseDottedName();
  ExprPtr Two(Expr::Kind kind, int line, ExprPtr left, ExprPtr right);
  // Sets the depth from the children and refuses what is too deep.
  ExprPtr Finish(ExprPtr node) const;

  std::vector<Token> tokens_;
  size_t at_ = 0;
  int nesting_ = 0;
};

}  // namespace lockstep::data::jinja
