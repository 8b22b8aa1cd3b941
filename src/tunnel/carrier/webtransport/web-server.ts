/** The web server that strangers see, over HTTP/1.1 and HTTP/2. */

import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { IncomingHttpHeaders, ServerHttp2Stream } from 'node:http2';
import type { Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { answerWeb, busy, type WebAnswer, type WebRequest } from './web-folder.js';

/** Files that are sent at the same time. */
const MAX_FILES = 64;
const MAX_HEADER_BYTES = 8192;
const KEEP_ALIVE_MS = 5000;

export class WebServer {
  /** It never listens: connections are handed to it. */
  readonly http1: Server;
  readonly #folder: string | undefined;
  #files = 0;
  requests = 0;

  constructor(folder: string | undefined) {
    this.#folder = folder;
    this.http1 = createServer(
      { maxHeaderSize: MAX_HEADER_BYTES, keepAliveTimeout: KEEP_ALIVE_MS, requireHostHeader: true },
      (request, response) => void this.#handleHttp1(request, response).catch(() => response.destroy()),
    );
    this.http1.on('clientError', (_error, socket) => {
      if (socket.writable) socket.end('HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n');
      else socket.destroy();
    });
  }

  handleHttp2(stream: ServerHttp2Stream, headers: IncomingHttpHeaders): void {
    stream.on('error', () => undefined);
    this.#handleHttp2(stream, headers).catch(() => stream.destroy());
  }

  async #handleHttp2(stream: ServerHttp2Stream, headers: IncomingHttpHeaders): Promise<void> {
    // What is uploaded is not read; its window is small.
    const answer = await this.#answer({
      method: headers[':method'] ?? '',
      path: headers[':path'] ?? '',
      ifModifiedSince: headers['if-modified-since'],
    });
    if (stream.destroyed || stream.closed) {
      await answer.file?.close();
      return;
    }
    const { status, text } = answer;
    stream.respond({ ':status': status, ...answer.headers }, { endStream: answer.file === undefined && text === '' });
    if (answer.file !== undefined || text !== '') await this.#send(answer, stream);
  }

  async #handleHttp1(request: IncomingMessage, response: ServerResponse): Promise<void> {
    response.on('error', () => undefined);
    const method = request.method ?? '';
    const answer = await this.#answer({ method, path: request.url ?? '', ifModifiedSince: request.headers['if-modified-since'] });
    // A body that nobody wants is not waited for.
    const last = method !== 'GET' && method !== 'HEAD';
    response.writeHead(answer.status, { ...answer.headers, ...(last && { connection: 'close' }) });
    if (answer.file === undefined) response.end(answer.text);
    else await this.#send(answer, response);
  }

  async #answer(request: WebRequest): Promise<WebAnswer> {
    this.requests++;
    if (this.#files >= MAX_FILES) return busy(request);
    return await answerWeb(this.#folder, request);
  }

  async #send({ file, text }: WebAnswer, out: Writable): Promise<void> {
    if (file === undefined) {
      out.end(text);
      return;
    }
    this.#files++;
    try {
      await pipeline(file.createReadStream({ autoClose: false }), out);
    } catch {
      // The stranger has gone, or the file became shorter: its length was promised.
      out.destroy();
    } finally {
      this.#files--;
      await file.close();
    }
  }
}
