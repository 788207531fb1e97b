// A query editor for the four languages. Enter runs the query, Shift-Enter breaks the line, Tab leaves the field.

import { autocompletion, closeBrackets, closeBracketsKeymap, completionKeymap, type CompletionContext, type CompletionResult } from "@codemirror/autocomplete";
import { defaultKeymap, history, historyKeymap } from "@codemirror/commands";
import { HighlightStyle, LRLanguage, LanguageSupport, bracketMatching, syntaxHighlighting } from "@codemirror/language";
import { PostgreSQL, sql } from "@codemirror/lang-sql";
import { EditorState, Prec } from "@codemirror/state";
import { EditorView, keymap, placeholder } from "@codemirror/view";
import { parser as logqlParser } from "@grafana/lezer-logql";
import { parser as traceqlParser } from "@grafana/lezer-traceql";
import { styleTags, tags } from "@lezer/highlight";
import { PromQLExtension } from "@prometheus-io/codemirror-promql";
import { useEffect, useLayoutEffect, useRef } from "preact/hooks";
import { completeLogql, completeSql, completeTraceql } from "./complete";

export type Language = "promql" | "logql" | "traceql" | "sql";

const logql = LRLanguage.define({
  parser: logqlParser.configure({
    props: [
      styleTags({
        "Identifier LabelName": tags.labelName,
        "String Re": tags.string,
        "Number Duration Bytes": tags.number,
        "Json Logfmt Unpack Pattern Regexp Unwrap LabelFormat LineFormat Decolorize Drop Keep LabelReplace Vector Offset Bool": tags.keyword,
        "By Without On Ignoring GroupLeft GroupRight And Or Unless": tags.modifier,
        "Sum Avg Count Max Min Stddev Stdvar Bottomk Topk Sort Sort_Desc RangeOp/...": tags.function(tags.name),
        "Eq Neq Nre Gtr Gte Lss Lte Eql PipeExact PipeMatch PipePattern Npa Pipe": tags.operator,
        LineComment: tags.comment,
      }),
    ],
  }),
});

const traceql = LRLanguage.define({
  parser: traceqlParser.configure({
    props: [
      styleTags({
        "AttributeField/... Identifier": tags.labelName,
        "IntrinsicField Parent": tags.variableName,
        String: tags.string,
        "Integer Float Duration Static": tags.number,
        "GroupOperation SelectOperation CoalesceOperation With": tags.keyword,
        "Aggregate MetricsOperationBasicType MetricsOverTimeType MetricsAggregatorFunctionType": tags.function(tags.name),
        "FieldOp ComparisonOp And Or Pipe Desc Anc Gt Lt ScalarOp": tags.operator,
        "LineComment BlockComment": tags.comment,
      }),
    ],
  }),
});

const style = HighlightStyle.define([
  { tag: [tags.keyword, tags.modifier], color: "var(--hl-keyword)" },
  { tag: tags.function(tags.name), color: "var(--hl-function)" },
  { tag: tags.function(tags.variableName), color: "var(--hl-function)" },
  { tag: [tags.labelName, tags.variableName], color: "var(--hl-name)" },
  { tag: tags.string, color: "var(--hl-string)" },
  { tag: tags.number, color: "var(--hl-number)" },
  { tag: tags.operator, color: "var(--hl-operator)" },
  { tag: tags.comment, color: "var(--muted)" },
]);

const theme = EditorView.theme({
  "&": { color: "var(--text)", backgroundColor: "var(--field)", fontSize: "14px" },
  ".cm-content": { fontFamily: "var(--mono)", padding: "8px 4px", caretColor: "var(--text)" },
  ".cm-cursor": { borderLeftColor: "var(--text)" },
  "&.cm-focused": { outline: "2px solid var(--accent)", outlineOffset: "1px" },
  ".cm-placeholder": { color: "var(--muted)" },
  ".cm-tooltip": { backgroundColor: "var(--panel)", color: "var(--text)", border: "1px solid var(--line)" },
  ".cm-tooltip-autocomplete ul li[aria-selected]": { backgroundColor: "var(--accent)", color: "#fff" },
  ".cm-selectionBackground, &.cm-focused .cm-selectionBackground": { backgroundColor: "var(--selection) !important" },
});

function languageOf(language: Language) {
  const completing = (support: LRLanguage, complete: (context: CompletionContext) => Promise<CompletionResult | null>) =>
    new LanguageSupport(support, [support.data.of({ autocomplete: complete })]);
  switch (language) {
    case "promql":
      return new PromQLExtension().activateLinter(false).setComplete({ remote: { url: "", apiPrefix: "/api/v1" } }).asExtension();
    case "logql":
      return completing(logql, completeLogql);
    case "traceql":
      return completing(traceql, completeTraceql);
    case "sql":
      return [sql({ dialect: PostgreSQL }), PostgreSQL.language.data.of({ autocomplete: completeSql })];
  }
}

interface Props {
  language: Language;
  value: string;
  hint: string;
  onRun: (text: string) => void;
}

export default function CodeEditor({ language, value, hint, onRun }: Props) {
  const parent = useRef<HTMLDivElement>(null);
  const view = useRef<EditorView | undefined>(undefined);
  const run = useRef(onRun);
  run.current = onRun;

  // Before it is painted, since what stood in its place has gone.
  useLayoutEffect(() => {
    const submit = () => {
      run.current(view.current!.state.doc.toString().trim());
      return true;
    };
    const editor = new EditorView({
      parent: parent.current!,
      state: EditorState.create({
        doc: value,
        extensions: [
          history(),
          bracketMatching(),
          closeBrackets(),
          autocompletion(),
          languageOf(language),
          syntaxHighlighting(style),
          theme,
          EditorView.lineWrapping,
          EditorView.contentAttributes.of({ "aria-label": `${language} query` }),
          placeholder(hint),
          keymap.of([...closeBracketsKeymap, ...completionKeymap]),
          // Behind the completion's Enter, before the editor's own.
          Prec.default(keymap.of([{ key: "Enter", run: submit }, { key: "Mod-Enter", run: submit }])),
          keymap.of([...historyKeymap, ...defaultKeymap]),
        ],
      }),
    });
    view.current = editor;
    return () => editor.destroy();
  }, [language]);

  useEffect(() => {
    const editor = view.current;
    if (editor && editor.state.doc.toString().trim() !== value) {
      editor.dispatch({ changes: { from: 0, to: editor.state.doc.length, insert: value } });
    }
  }, [value]);

  return <div class="code" ref={parent} />;
}
