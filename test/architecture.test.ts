/**
 * Holds the walls between the rooms (DESIGN.md): imports run one way, and pure rooms know no clock, timer, socket, promise or
 * entropy. It reads the syntax tree, so that comments and strings do not count. The checker is itself tested, on bad samples.
 */

import { readdirSync, readFileSync } from 'node:fs';
import { join, posix, relative, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import ts from 'typescript';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/** What each room may import beside itself. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  bin: ['cli', 'control', 'proxy', 'tunnel', 'mptcp-over-udp', 'crypto', 'tun'],
  cli: ['control', 'proxy', 'tunnel', 'mptcp-over-udp', 'crypto', 'tun', 'lab'],
  control: ['tunnel', 'mptcp-over-udp', 'crypto', 'tun'],
  proxy: ['control', 'tunnel', 'tun'],
  tunnel: ['mptcp-over-udp', 'crypto', 'tun'],
  lab: ['mptcp-over-udp', 'tun'],
  host: ['mptcp-over-udp', 'tun'],
  // The package's entry: the library.
  index: ['host', 'client'],
  client: ['tunnel', 'tun'],
  // Examples do as users do.
  examples: ['index'],
  'mptcp-over-udp': [],
  crypto: [],
  tun: [],
};
const PURE_FOLDERS = ['src/mptcp-over-udp/', 'src/crypto/', 'src/tunnel/session/'];
/** The only Node module that a pure room may use: deterministic functions over bytes. */
const PURE_NODE_MODULES = ['node:crypto'];
const IMPURE_NAMES = new Set([
  ...['Date', 'performance', 'setTimeout', 'setInterval', 'setImmediate', 'queueMicrotask', 'Promise', 'fetch', 'process', 'console'],
  ...['hrtime', 'nextTick'],
]);
/** Members that bring entropy or an event loop, whatever the object in front is called. */
const IMPURE_MEMBERS = new Set([
  ...['randomBytes', 'randomInt', 'randomUUID', 'randomFill', 'randomFillSync', 'getRandomValues', 'generateKeyPair'],
  ...['generateKeyPairSync', 'generateKey', 'generateKeySync', 'webcrypto'],
]);
/** Third-party packages of pure functions over bytes and values; the randomBytes of tweetnacl is caught by its name. */
const PURE_PACKAGES = ['tweetnacl', 'msgpackr', 'zod'];

function roomOf(file: string): string {
  const [top, room] = file.split('/');
  return (top === 'src' ? (room ?? '') : (top ?? '')).replace(/\.[jt]s$/, '');
}

interface Import {
  specifier: string;
  typeOnly: boolean;
  names: string[];
  line: number;
}

function importsOf(source: ts.SourceFile): Import[] {
  const found: Import[] = [];
  const visit = (node: ts.Node): void => {
    const line = source.getLineAndCharacterOfPosition(node.getStart(source)).line + 1;
    if (ts.isImportDeclaration(node) && ts.isStringLiteral(node.moduleSpecifier)) {
      const bindings = node.importClause?.namedBindings;
      const named = bindings !== undefined && ts.isNamedImports(bindings) ? bindings.elements : [];
      const allTypes = node.importClause?.name === undefined && named.length > 0 && named.every((element) => element.isTypeOnly);
      found.push({
        specifier: node.moduleSpecifier.text,
        typeOnly: node.importClause?.isTypeOnly === true || allTypes,
        names: named.map((element) => (element.propertyName ?? element.name).text),
        line,
      });
    } else if (ts.isExportDeclaration(node) && node.moduleSpecifier !== undefined && ts.isStringLiteral(node.moduleSpecifier)) {
      found.push({ specifier: node.moduleSpecifier.text, typeOnly: node.isTypeOnly, names: [], line });
    } else if (ts.isCallExpression(node) && (node.expression.kind === ts.SyntaxKind.ImportKeyword || isRequire(node.expression))) {
      const argument = node.arguments[0];
      const specifier = argument !== undefined && ts.isStringLiteralLike(argument) ? argument.text : '(computed)';
      found.push({ specifier, typeOnly: false, names: [], line });
    } else if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument) && ts.isStringLiteral(node.argument.literal)) {
      found.push({ specifier: node.argument.literal.text, typeOnly: true, names: [], line });
    }
    ts.forEachChild(node, visit);
  };
  visit(source);
  return found;
}

function isRequire(node: ts.Expression): boolean {
  return ts.isIdentifier(node) && node.text === 'require';
}

/** The faults of one file, as "file:line: what". `file` is relative to the project, with "/". */
export function checkFile(file: string, text: string): string[] {
  const source = ts.createSourceFile(file, text, ts.ScriptTarget.ES2023, true);
  const faults: string[] = [];
  const pure = PURE_FOLDERS.some((folder) => file.startsWith(folder));
  for (const found of importsOf(source)) {
    const where = `${file}:${found.line}`;
    if (found.specifier.startsWith('.')) {
      const fault = checkDirection(file, found);
      if (fault !== undefined) faults.push(`${where}: ${fault}`);
    } else if (pure && !PURE_NODE_MODULES.includes(found.specifier) && !PURE_PACKAGES.includes(found.specifier)) {
      if (!found.typeOnly) faults.push(`${where}: a pure room imports ${found.specifier}`);
    }
    for (const name of found.names) {
      if (pure && IMPURE_MEMBERS.has(name)) faults.push(`${where}: a pure room imports ${name}`);
    }
  }
  if (pure) faults.push(...impurities(file, source));
  return faults;
}

function checkDirection(file: string, found: Import): string | undefined {
  const target = posix.normalize(posix.join(posix.dirname(file), found.specifier));
  const [from, to] = [roomOf(file), roomOf(target)];
  if (from !== to) {
    const allowed = MAY_IMPORT[from];
    if (allowed === undefined) return `the room "${from}" is not in the plan`;
    if (!allowed.includes(to)) return `${from} imports ${to}`;
  }
  // Purity is not lent: a pure room that imports an impure one would have its clock and sockets.
  const pureFrom = PURE_FOLDERS.some((folder) => file.startsWith(folder));
  const pureTo = PURE_FOLDERS.some((folder) => target.startsWith(folder));
  if (pureFrom && !pureTo && !found.typeOnly) return `a pure room imports the impure ${target}`;
  return undefined;
}

function impurities(file: string, source: ts.SourceFile): string[] {
  const faults: string[] = [];
  const own = declaredNames(source);
  const report = (node: ts.Node, what: string): void => {
    faults.push(`${file}:${source.getLineAndCharacterOfPosition(node.getStart(source)).line + 1}: ${what}`);
  };
  const visit = (node: ts.Node): void => {
    if (ts.isAwaitExpression(node)) report(node, 'await');
    else if (node.kind === ts.SyntaxKind.AsyncKeyword) report(node, 'async');
    else if (ts.isForOfStatement(node) && node.awaitModifier !== undefined) report(node, 'for await');
    else if (ts.isPropertyAccessExpression(node)) {
      const member = node.name.text;
      if (ts.isIdentifier(node.expression) && node.expression.text === 'Math' && member === 'random') report(node, 'Math.random');
      if (IMPURE_MEMBERS.has(member) && !isOwnMember(node)) report(node, member);
    } else if (ts.isIdentifier(node) && IMPURE_NAMES.has(node.text) && !own.has(node.text) && !isMemberName(node)) report(node, node.text);
    ts.forEachChild(node, visit);
  };
  visit(source);
  return faults;
}

/** `options.randomBytes(n)` is injected entropy, as the rules want it; `crypto.randomBytes(n)` and `nacl.randomBytes(n)` are not. */
function isOwnMember(node: ts.PropertyAccessExpression): boolean {
  const object = node.expression;
  if (!ts.isIdentifier(object)) return true;
  let imported = object.text === 'crypto' || object.text === 'globalThis';
  node.getSourceFile().forEachChild((statement) => {
    if (!ts.isImportDeclaration(statement)) return;
    const clause = statement.importClause;
    const bindings = clause?.namedBindings;
    if (clause?.name?.text === object.text) imported = true;
    if (bindings !== undefined && ts.isNamespaceImport(bindings) && bindings.name.text === object.text) imported = true;
  });
  return !imported;
}

/** Names that the file declares itself as variables or parameters: `(process) => process.pid` is not the global. */
function declaredNames(source: ts.SourceFile): Set<string> {
  const names = new Set<string>();
  const visit = (node: ts.Node): void => {
    if ((ts.isVariableDeclaration(node) || ts.isParameter(node)) && ts.isIdentifier(node.name)) names.add(node.name.text);
    ts.forEachChild(node, visit);
  };
  visit(source);
  return names;
}

/** `x.process`, `{ process: 1 }`, a method or a property called so: not the global. */
function isMemberName(node: ts.Identifier): boolean {
  const parent = node.parent;
  if (ts.isPropertyAccessExpression(parent)) {
    return parent.name === node && !(ts.isIdentifier(parent.expression) && parent.expression.text === 'globalThis');
  }
  if (ts.isPropertyAssignment(parent) || ts.isPropertySignature(parent) || ts.isPropertyDeclaration(parent)) return parent.name === node;
  return ts.isMethodDeclaration(parent) || ts.isMethodSignature(parent);
}

function sourceFiles(): string[] {
  return ['bin', 'examples', 'src'].flatMap((folder) =>
    readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith('.ts'))
      .map((name) =>
        relative(ROOT, join(ROOT, folder, name))
          .split(sep)
          .join('/'),
      ),
  );
}

t.test('imports run one way, and pure rooms are pure', async (t) => {
  const files = sourceFiles();
  t.ok(files.length > 5, 'there are sources to check');
  const faults = files.flatMap((file) => checkFile(file, readFileSync(join(ROOT, file), 'utf8')));
  t.strictSame(faults, []);
});

const PURE = 'src/mptcp-over-udp/tcp/sample.ts';

t.test('the checker finds each breach', async (t) => {
  const bad: [file: string, text: string, expected: RegExp][] = [
    [PURE, 'const now = Date.now();', /Date/],
    [PURE, 'const now = performance.now();', /performance/],
    [PURE, 'setTimeout(() => 1, 5);', /setTimeout/],
    [PURE, 'globalThis.setTimeout(() => 1, 5);', /setTimeout/],
    [PURE, 'const x = Math.random();', /Math\.random/],
    [PURE, 'const p = new Promise(() => 1);', /Promise/],
    [PURE, 'async function f() {}', /async/],
    [PURE, 'const f = async () => 1;', /async/],
    [PURE, 'export const x = await y;', /await/],
    [PURE, 'const n = process.hrtime();', /process/],
    [PURE, "import net from 'node:net';", /node:net/],
    [PURE, "import { createSocket } from 'node:dgram';", /node:dgram/],
    [PURE, "import { readFileSync } from 'node:fs';", /node:fs/],
    [PURE, "import { spawn } from 'node:child_process';", /node:child_process/],
    [PURE, "const net = require('node:net');", /node:net/],
    [PURE, "export * from 'node:timers';", /node:timers/],
    [PURE, "import { randomBytes } from 'node:crypto';", /randomBytes/],
    [PURE, "import { randomBytes as r } from 'node:crypto';", /randomBytes/],
    [PURE, "import * as c from 'node:crypto'; c.randomBytes(3);", /randomBytes/],
    ['src/crypto/sample.ts', "import nacl from 'tweetnacl'; nacl.randomBytes(3);", /randomBytes/],
    ['src/crypto/sample.ts', "import { x } from '../tun/native.js';", /crypto imports tun/],
    ['src/tunnel/session/sample.ts', "import { loadNative } from '../../tun/native.js';", /impure/],
    ['src/tunnel/session/sample.ts', "import { x } from '../tunnel.js';", /impure/],
    ['src/mptcp-over-udp/sample.ts', "import type { X } from '../crypto/keys.js';", /mptcp-over-udp imports crypto/],
    ['src/tun/sample.ts', "import { x } from '../tunnel/link.js';", /tun imports tunnel/],
    ['src/tunnel/sample.ts', "import { x } from '../control/daemon.js';", /tunnel imports control/],
    ['src/tunnel/sample.ts', "const x = await import('../cli/up.js');", /tunnel imports cli/],
    ['src/control/sample.ts', "import { x } from '../cli/up.js';", /control imports cli/],
    ['src/lab/sample.ts', "import { x } from '../tunnel/link.js';", /lab imports tunnel/],
    ['src/control/sample.ts', "import { x } from '../lab/topology.js';", /control imports lab/],
    ['src/host/sample.ts', "import { x } from '../tunnel/link.js';", /host imports tunnel/],
    ['src/tunnel/sample.ts', "import { x } from '../host/host.js';", /tunnel imports host/],
    ['src/index.ts', "export { x } from './tunnel/tunnel.js';", /imports tunnel/],
    ['examples/sample.ts', "import { x } from '../src/host/host.js';", /examples imports host/],
    ['src/other/sample.ts', "import { x } from '../tun/native.js';", /not in the plan/],
    ['bin/mptunnel.ts', "import { x } from '../src/lab/topology.js';", /bin imports lab/],
  ];
  for (const [file, text, expected] of bad) t.match(checkFile(file, text).join('\n'), expected, `${file}: ${text}`);
});

t.test('the checker lets pass what is allowed', async (t) => {
  const good: [file: string, text: string][] = [
    [PURE, '// Date.now() and setTimeout\nconst s = "await Promise";'],
    [PURE, 'function f(process: { name: string }) { return process.name; }'],
    [PURE, "import { createHash } from 'node:crypto';"],
    [PURE, "import { seqLt } from '../wire/sequence.js';"],
    [PURE, 'const k = options.randomBytes(8); x.process(1); const y = { Date: 1 };'],
    ['src/tunnel/session/sample.ts', "import type { AeadName } from '../../tun/native.js';"],
    ['src/tunnel/session/sample.ts', "import { type AeadName } from '../../tun/native.js';"],
    ['src/tunnel/session/sample.ts', "import { noise } from '../../crypto/noise.js';"],
    ['src/tunnel/sample.ts', "import { loadNative } from '../tun/native.js'; const now = performance.now();"],
    ['src/cli/sample.ts', "import { createLab } from '../lab/topology.js';"],
    ['src/lab/sample.ts', "import { loadNative } from '../tun/native.js';"],
    ['src/host/sample.ts', "import { x } from '../mptcp-over-udp/mptcp/host.js'; import { y } from '../tun/native.js';"],
    ['src/index.ts', "export { createHost } from './host/host.js';"],
    ['examples/sample.ts', "import { createHost } from '../src/index.js';"],
    ['bin/mptunnel.ts', "import { main } from '../src/cli/main.js';"],
  ];
  for (const [file, text] of good) t.strictSame(checkFile(file, text), [], `${file}: ${text}`);
});
