/**
 * The file resolv.conf in the hands of tunnels. A link is replaced by a file of ours, so that whoever maintains its target (NetworkManager, resolvconf) may go on; a file is
 * overwritten where it lies, for it may be a mount point (`ip netns exec`, containers, a unit's ReadWritePaths), which cannot be replaced.
 */

import {
  closeSync,
  constants,
  ftruncateSync,
  lstatSync,
  openSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import type { ResolvConf } from './resolv-conf.js';

/** Codes that a folder answers in which nothing can be made or replaced. */
const READ_ONLY_CODES: ReadonlySet<string> = new Set(['EROFS', 'EACCES', 'EPERM', 'EBUSY', 'EXDEV']);

/** Throws what node:fs throws, but for a file that is not there. */
export function readResolvConf(file: string): ResolvConf {
  const stat = lstatSync(file, { throwIfNoEntry: false });
  if (stat === undefined) return { kind: 'absent' };
  if (stat.isSymbolicLink()) return { kind: 'link', target: readlinkSync(file), text: readText(file) };
  return { kind: 'file', text: readFileSync(file, 'latin1') };
}

/** Afterwards readers of the file find `text`. `replaceLink`: a link becomes a file, where its folder allows that; else its target is overwritten. */
export function writeResolvConf(file: string, text: string, replaceLink: boolean): void {
  const stat = lstatSync(file, { throwIfNoEntry: false });
  if (stat === undefined) {
    writeFileSync(file, text, { encoding: 'latin1', mode: 0o644 });
    return;
  }
  if (
    stat.isSymbolicLink() &&
    replaceLink &&
    tryReplace(file, (temporary) => writeFileSync(temporary, text, { encoding: 'latin1', mode: 0o644 }))
  )
    return;
  overwrite(file, text);
}

/** As it was. */
export function restoreResolvConf(file: string, original: ResolvConf): void {
  switch (original.kind) {
    case 'absent':
      rmSync(file, { force: true });
      return;
    case 'file':
      writeResolvConf(file, original.text, false);
      return;
    case 'link': {
      const current = readResolvConf(file);
      // Its folder did not allow to replace it: then it is the target that was overwritten.
      if (current.kind === 'link') overwrite(file, original.text);
      else if (!tryReplace(file, (temporary) => symlinkSync(original.target, temporary)))
        throw new Error(`${file} cannot become a link to ${original.target} again: its folder is read-only`);
    }
  }
}

/** What the file holds when the writing of `text` over `before` stops between its two steps. */
export function tornText(text: string, before: string): string {
  return text + before.slice(text.length);
}

/** Readers that come in between find either the old text or the new one, at worst with the end of the old one behind it. */
function overwrite(file: string, text: string): void {
  const descriptor = openSync(file, constants.O_WRONLY | constants.O_CREAT, 0o644);
  try {
    const bytes = Buffer.from(text, 'latin1');
    let done = 0;
    while (done < bytes.length) done += writeSync(descriptor, bytes, done, bytes.length - done, done);
    ftruncateSync(descriptor, bytes.length);
  } finally {
    closeSync(descriptor);
  }
}

/** False where the folder allows nothing of the kind. */
function tryReplace(file: string, make: (temporary: string) => void): boolean {
  const temporary = `${file}.mptunnel-${process.pid}`;
  try {
    rmSync(temporary, { force: true });
    make(temporary);
    renameSync(temporary, file);
    return true;
  } catch (error) {
    rmSync(temporary, { force: true });
    if (READ_ONLY_CODES.has((error as NodeJS.ErrnoException).code ?? '')) return false;
    throw error;
  }
}

function readText(file: string): string {
  try {
    return readFileSync(file, 'latin1');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return '';
    throw error;
  }
}
