/** Standard input, for commands that take one short text from it. */

/** All of it, or what has come when there are more than `maxCharacters`: the caller refuses a text that is too long, a mistake of gigabytes is not read. */
export async function readStandardInput(maxCharacters: number): Promise<string> {
  let text = '';
  for await (const chunk of process.stdin.setEncoding('utf8')) {
    text += chunk;
    if (text.length > maxCharacters) break;
  }
  return text;
}
