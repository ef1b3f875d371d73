// Runs the program for WebAssembly: node run.mjs PROGRAM.wasm
import { readFileSync, writeSync } from "node:fs";

const STDOUT = 1;
let memory;

function write(start, length) {
  let bytes = new Uint8Array(memory.buffer, start, length);
  while (bytes.length > 0) bytes = bytes.subarray(writeSync(STDOUT, bytes));
}

const program = readFileSync(process.argv[2]);
const { instance } = await WebAssembly.instantiate(program, { console: { write } });
memory = instance.exports.memory;
try {
  instance.exports.run();
} catch (trap) {
  // A panic: the program has said what it is.
  console.error(String(trap));
  process.exit(101);
}
