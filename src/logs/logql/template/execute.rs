use super::parse::{Node, Operand, Pipeline};
use super::value::Value;
use super::{Input, Template, functions};

/// Bytes that one template may write, or a function give, and templates that may call each other.
pub const OUTPUT_MAX_BYTES: usize = 4 << 20;
const CALLS_MAX: usize = 32;

/// Steps that all templates may take for one entry; a step is an action, or some bytes of a value that is copied. About a
/// twentieth of a second.
pub const STEPS_MAX: u64 = 1 << 20;
const STEP_BYTES: usize = 64;

/// `steps` are those that are left to the entry.
pub fn execute(template: &Template, input: &Input<'_>, steps: &mut u64) -> Result<String, String> {
    let mut run = Run { template, input, out: String::new(), variables: vec![("$".into(), Value::Labels)], calls: 0, steps };
    run.list(&template.body, &Value::Labels)?;
    Ok(run.out)
}

/// Takes the steps that something of so many bytes costs.
pub fn spend(steps: &mut u64, bytes: usize) -> Result<(), String> {
    match steps.checked_sub(1 + (bytes / STEP_BYTES) as u64) {
        Some(left) => {
            *steps = left;
            Ok(())
        }
        None => {
            *steps = 0;
            Err("takes too many steps".into())
        }
    }
}

struct Run<'a> {
    template: &'a Template,
    input: &'a Input<'a>,
    out: String,
    variables: Vec<(String, Value)>,
    calls: usize,
    steps: &'a mut u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    Next,
    Break,
    Continue,
}

impl Run<'_> {
    fn list(&mut self, nodes: &[Node], dot: &Value) -> Result<Flow, String> {
        let scope = self.variables.len();
        for node in nodes {
            spend(self.steps, 0)?;
            let flow = self.node(node, dot)?;
            if self.out.len() > OUTPUT_MAX_BYTES {
                return Err("output is too long".into());
            }
            if flow != Flow::Next {
                self.variables.truncate(scope);
                return Ok(flow);
            }
        }
        self.variables.truncate(scope);
        Ok(Flow::Next)
    }

    fn node(&mut self, node: &Node, dot: &Value) -> Result<Flow, String> {
        match node {
            Node::Text(text) => self.out.push_str(text),
            Node::Print(pipeline) => {
                let value = self.pipeline(pipeline, dot)?;
                if pipeline.variables.is_empty() {
                    let text = self.print(&value);
                    spend(self.steps, text.len())?;
                    self.out.push_str(&text);
                }
            }
            Node::If { condition, then, otherwise } => {
                let scope = self.variables.len();
                let branch = if self.pipeline(condition, dot)?.truth() { then } else { otherwise };
                let flow = self.list(branch, dot);
                self.variables.truncate(scope);
                return flow;
            }
            Node::With { value, then, otherwise } => {
                let scope = self.variables.len();
                let value = self.pipeline(value, dot)?;
                let flow = if value.truth() { self.list(then, &value) } else { self.list(otherwise, dot) };
                self.variables.truncate(scope);
                return flow;
            }
            Node::Range { over, body, otherwise } => return self.range(over, body, otherwise, dot),
            Node::Call { name, data } => {
                let data = data.as_ref().map_or(Ok(Value::Nil), |d| self.pipeline(d, dot))?;
                let body = self.template.defined.get(name).ok_or_else(|| format!("template {name:?} not defined"))?;
                self.calls += 1;
                if self.calls > CALLS_MAX {
                    return Err("templates call each other too deeply".into());
                }
                let outer = std::mem::replace(&mut self.variables, vec![("$".into(), data.clone())]);
                let result = self.list(body, &data);
                self.variables = outer;
                self.calls -= 1;
                result?;
            }
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::Next)
    }

    fn print(&self, value: &Value) -> String {
        match value {
            Value::Labels => functions::labels_as_map(self.input).print(),
            value => value.print(),
        }
    }

    fn range(&mut self, over: &Pipeline, body: &[Node], otherwise: &[Node], dot: &Value) -> Result<Flow, String> {
        let scope = self.variables.len();
        let bare = Pipeline { variables: Vec::new(), declares: false, commands: over.commands.clone() };
        let value = self.pipeline(&bare, dot)?;
        let items: Vec<(Value, Value)> = match value {
            Value::List(items) => items.into_iter().enumerate().map(|(i, v)| (Value::Int(i as i64), v)).collect(),
            Value::Map(members) => members.into_iter().map(|(k, v)| (Value::Text(k), v)).collect(),
            Value::Labels => match functions::labels_as_map(self.input) {
                Value::Map(members) => members.into_iter().map(|(k, v)| (Value::Text(k), v)).collect(),
                _ => Vec::new(),
            },
            Value::Int(n) if n <= ITERATIONS_MAX => (0..n).map(|i| (Value::Int(i), Value::Int(i))).collect(),
            Value::Nil => Vec::new(),
            other => return Err(format!("range can't iterate over {}", other.print())),
        };
        if items.is_empty() {
            return self.list(otherwise, dot);
        }
        for (key, item) in items {
            spend(self.steps, item.bytes())?;
            match &over.variables[..] {
                [one] => self.variables.push((one.clone(), item.clone())),
                [first, second] => {
                    self.variables.push((first.clone(), key));
                    self.variables.push((second.clone(), item.clone()));
                }
                _ => {}
            }
            let flow = self.list(body, &item)?;
            self.variables.truncate(scope);
            if flow == Flow::Break {
                break;
            }
        }
        Ok(Flow::Next)
    }

    fn pipeline(&mut self, pipeline: &Pipeline, dot: &Value) -> Result<Value, String> {
        let mut value = None;
        for command in &pipeline.commands {
            value = Some(self.command(command, dot, value)?);
        }
        let value = value.unwrap_or(Value::Nil);
        if let Some(name) = pipeline.variables.first() {
            if pipeline.declares {
                self.variables.push((name.clone(), value.clone()));
            } else {
                let slot = self.variables.iter_mut().rev().find(|(n, _)| n == name);
                slot.ok_or_else(|| format!("undefined variable {name:?}"))?.1 = value.clone();
            }
        }
        Ok(value)
    }

    fn command(&mut self, command: &[Operand], dot: &Value, piped: Option<Value>) -> Result<Value, String> {
        let Some((first, rest)) = command.split_first() else { return Ok(Value::Nil) };
        let Operand::Function(name) = first else {
            if !rest.is_empty() || piped.is_some() {
                return Err("can't give argument to non-function".into());
            }
            return self.operand(first, dot);
        };
        if let "and" | "or" = name.as_str() {
            // These stop at the first argument that decides.
            let mut last = Value::Nil;
            for operand in rest {
                last = self.operand(operand, dot)?;
                if last.truth() == (name == "or") {
                    return Ok(last);
                }
            }
            return Ok(piped.unwrap_or(last));
        }
        let mut arguments = Vec::with_capacity(rest.len() + 1);
        let mut bytes = piped.as_ref().map_or(0, Value::bytes);
        for operand in rest {
            let argument = self.operand(operand, dot)?;
            bytes += argument.bytes();
            arguments.push(argument);
        }
        arguments.extend(piped);
        if bytes > OUTPUT_MAX_BYTES {
            return Err(format!("error calling {name}: arguments are too long"));
        }
        spend(self.steps, bytes + functions::cost(name))?;
        functions::call(name, &arguments, self.input).map_err(|e| format!("error calling {name}: {e}"))
    }

    fn operand(&mut self, operand: &Operand, dot: &Value) -> Result<Value, String> {
        let value = self.value(operand, dot)?;
        spend(self.steps, value.bytes())?;
        Ok(value)
    }

    fn value(&mut self, operand: &Operand, dot: &Value) -> Result<Value, String> {
        match operand {
            Operand::Constant(value) => Ok(value.clone()),
            Operand::Field(names) => self.fields(dot.clone(), names),
            Operand::Variable(name, names) => {
                let value = self.variables.iter().rev().find(|(n, _)| n == name).map(|(_, v)| v.clone());
                self.fields(value.ok_or_else(|| format!("undefined variable {name:?}"))?, names)
            }
            Operand::Function(name) => functions::call(name, &[], self.input).map_err(|e| format!("error calling {name}: {e}")),
            Operand::Nested(pipeline, names) => {
                let value = self.pipeline(pipeline, dot)?;
                self.fields(value, names)
            }
        }
    }

    fn fields(&self, mut value: Value, names: &[String]) -> Result<Value, String> {
        for name in names {
            value = match value {
                Value::Labels => Value::Text(functions::label(self.input, name)),
                Value::Map(mut members) => members.remove(name).unwrap_or(Value::Nil),
                Value::Nil => return Err(format!("nil pointer evaluating interface {{}}.{name}")),
                other => return Err(format!("can't evaluate field {name} in type {}", other.kind())),
            };
        }
        Ok(value)
    }
}

/// Turns of `range` over a number.
const ITERATIONS_MAX: i64 = 100_000;
