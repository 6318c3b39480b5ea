// Evaluates expressions with the reference implementation of JSONata, by the rules of Step
// Functions. Standard input: a JSON list of {expression, bindings}. Output: a JSON list of {value}
// or {error}.
//
// https://docs.aws.amazon.com/step-functions/latest/dg/transforming-data.html: JSONata 2.0.6 without
// $eval, with six further functions. A result that JSON cannot represent is an error.

import { createHash, randomUUID } from "node:crypto";
import { text } from "node:stream/consumers";

import jsonata from "jsonata";

const DIGESTS = ["MD5", "SHA-1", "SHA-256", "SHA-384", "SHA-512"];

const FUNCTIONS = {
  partition: (list, size) =>
    Array.from({ length: Math.ceil(list.length / size) }, (_, n) => list.slice(n * size, n * size + size)),
  range: (first, last, step) =>
    Array.from({ length: Math.floor((last - first) / step) + 1 }, (_, n) => first + n * step),
  hash: (content, algorithm) => {
    if (!DIGESTS.includes(algorithm)) throw new Error(`$hash does not know ${algorithm}`);
    return createHash(algorithm.replace("-", "")).update(content).digest("hex");
  },
  random: () => Math.random(),
  uuid: () => randomUUID(),
  parse: (json) => JSON.parse(json),
};

function representable(_, value) {
  const isFunction = typeof value === "function" || value?._jsonata_function || value?._jsonata_lambda;
  if (isFunction || (typeof value === "number" && !Number.isFinite(value))) {
    throw new Error("JSON cannot represent the result");
  }
  return value;
}

async function evaluate({ expression, bindings }) {
  try {
    const parsed = jsonata(expression);
    for (const [name, implementation] of Object.entries(FUNCTIONS)) parsed.registerFunction(name, implementation);
    parsed.assign("eval", undefined);
    const json = JSON.stringify(await parsed.evaluate(undefined, bindings), representable);
    return json === undefined ? { error: "no result" } : { value: JSON.parse(json) };
  } catch (error) {
    return { error: `${error.code ?? error.name}: ${error.message}` };
  }
}

const results = [];
for (const each of JSON.parse(await text(process.stdin))) results.push(await evaluate(each));
process.stdout.write(JSON.stringify(results));
