/** The static files that everybody else sees: GET and HEAD, nothing from outside of the folder, no file whose name begins with a dot. */

import { constants, type Stats } from 'node:fs';
import { type FileHandle, open, readlink, realpath } from 'node:fs/promises';
import { extname, join, sep } from 'node:path';

export interface WebAnswer {
  readonly status: number;
  readonly headers: Record<string, string>;
  /** Of `file`, or of `text`; to HEAD without either. */
  readonly file: FileHandle | undefined;
  readonly text: string;
}

export interface WebRequest {
  readonly method: string;
  /** With its query. */
  readonly path: string;
  readonly ifModifiedSince: string | undefined;
}

const INDEX = 'index.html';
const MAX_PATH_BYTES = 2048;
/** Dot files are nobody's, but for what hosts are asked for (RFC 8615), such as the proofs of certificate authorities. */
const WELL_KNOWN = '.well-known';

const TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.htm': 'text/html; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.mjs': 'text/javascript; charset=utf-8',
  '.json': 'application/json',
  '.txt': 'text/plain; charset=utf-8',
  '.md': 'text/markdown; charset=utf-8',
  '.xml': 'application/xml',
  '.svg': 'image/svg+xml',
  '.png': 'image/png',
  '.jpg': 'image/jpeg',
  '.jpeg': 'image/jpeg',
  '.gif': 'image/gif',
  '.webp': 'image/webp',
  '.avif': 'image/avif',
  '.ico': 'image/x-icon',
  '.pdf': 'application/pdf',
  '.woff': 'font/woff',
  '.woff2': 'font/woff2',
  '.wasm': 'application/wasm',
  '.mp4': 'video/mp4',
  '.webm': 'video/webm',
  '.mp3': 'audio/mpeg',
  '.zip': 'application/zip',
  '.gz': 'application/gzip',
};
const OTHER_TYPE = 'application/octet-stream';

/** `folder` undefined: there is nothing. The file of the answer is the caller's to close. */
export async function answerWeb(folder: string | undefined, request: WebRequest): Promise<WebAnswer> {
  if (request.method !== 'GET' && request.method !== 'HEAD') return plain(405, 'Method Not Allowed', request, { allow: 'GET, HEAD' });
  const query = request.path.indexOf('?');
  const path = query < 0 ? request.path : request.path.slice(0, query);
  const names = namesOf(path);
  if (folder === undefined || names === undefined) return notFound(request);
  try {
    return await answerFile(folder, names, path, request);
  } catch {
    // Not there, not ours to read, too many files open: all the same to a stranger.
    return notFound(request);
  }
}

async function answerFile(folder: string, names: readonly string[], path: string, request: WebRequest): Promise<WebAnswer> {
  const root = await realpath(folder);
  const wanted = path.endsWith('/') ? [...names, INDEX] : names;
  const file = await openInside(root, join(root, ...wanted));
  if (file === undefined) return notFound(request);
  let kept = false;
  try {
    const stats = await file.stat();
    if (stats.isDirectory() && !path.endsWith('/')) return plain(301, 'Moved Permanently', request, { location: `${encodePath(names)}/` });
    if (!stats.isFile()) return notFound(request);
    const headers = { 'last-modified': stats.mtime.toUTCString(), 'cache-control': 'max-age=600' };
    if (isUnchanged(stats, request)) return { status: 304, headers, file: undefined, text: '' };
    const type = TYPES[extname(wanted.at(-1) ?? '').toLowerCase()] ?? OTHER_TYPE;
    const described = { ...headers, 'content-type': type, 'content-length': String(stats.size) };
    kept = request.method === 'GET' && stats.size > 0;
    return { status: 200, headers: described, file: kept ? file : undefined, text: '' };
  } finally {
    if (!kept) await file.close();
  }
}

/** The names that the path leads through; undefined: it is none of ours. */
function namesOf(path: string): string[] | undefined {
  if (!path.startsWith('/') || path.length > MAX_PATH_BYTES) return undefined;
  try {
    const names = path
      .split('/')
      .filter((name) => name !== '')
      .map((name) => decodeURIComponent(name));
    const good = (name: string, at: number) => !/[/\0]/.test(name) && (!name.startsWith('.') || (at === 0 && name === WELL_KNOWN));
    return names.every(good) ? names : undefined;
  } catch {
    return undefined;
  }
}

function encodePath(names: readonly string[]): string {
  return names.map((name) => `/${encodeURIComponent(name)}`).join('');
}

/** Undefined: links lead out of the folder. What was opened is looked at, not what its name stood for a moment ago. */
async function openInside(root: string, path: string): Promise<FileHandle | undefined> {
  // A named pipe would keep us waiting.
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const real = await readlink(`/proc/self/fd/${file.fd}`);
    if (real === root || real.startsWith(root.endsWith(sep) ? root : root + sep)) return file;
  } catch {
    // Without /proc it cannot be told.
  }
  await file.close();
  return undefined;
}

function isUnchanged(stats: Stats, request: WebRequest): boolean {
  const since = Date.parse(request.ifModifiedSince ?? '');
  // The header has no milliseconds.
  return Number.isFinite(since) && Math.floor(stats.mtimeMs / 1000) * 1000 <= since;
}

export function busy(request: WebRequest): WebAnswer {
  return plain(503, 'Service Unavailable', request, { 'retry-after': '10' });
}

function notFound(request: WebRequest): WebAnswer {
  return plain(404, 'Not Found', request);
}

function plain(status: number, title: string, request: WebRequest, more: Record<string, string> = {}): WebAnswer {
  const text = `<!DOCTYPE html>\n<html><head><title>${status} ${title}</title></head><body><h1>${title}</h1></body></html>\n`;
  const headers = { 'content-type': 'text/html; charset=utf-8', 'content-length': String(Buffer.byteLength(text)), ...more };
  return { status, headers, file: undefined, text: request.method === 'HEAD' ? '' : text };
}
