/** Settings from the environment. They win over the file. */
import { parse } from 'yaml';
import { settings, type Setting } from './describe';
import { nearest, type Problem } from './problems';

/** Variables with our prefix that are no settings: the file itself. */
const OWN = new Set(['FMO_CONFIG']);

export interface EnvironmentSettings {
  /** Nested like a file. */
  readonly values: Record<string, unknown>;
  readonly problems: readonly Problem[];
  /** The variable behind each dotted path, so that a problem can name it. */
  readonly sources: ReadonlyMap<string, string>;
}

/**
 * Reads every `FMO_...` variable. Lists are separated by commas or written as YAML (`[a, b]`); maps are YAML (`{a: b}`).
 * A variable that begins like a section's and is no setting is a problem; any other with the prefix belongs to somebody else (Kubernetes
 * makes some for every Service).
 */
export function fromEnvironment(env: Readonly<Record<string, string | undefined>>): EnvironmentSettings {
  const all = settings();
  const byVariable = new Map(all.map((setting) => [setting.variable, setting]));
  const sections = new Set(
    all.filter(({ path }) => path.length > 1).map(({ variable }) => variable.split('_').slice(0, 2).join('_')),
  );
  const values: Record<string, unknown> = {};
  const problems: Problem[] = [];
  const sources = new Map<string, string>();
  for (const [variable, text] of Object.entries(env)) {
    if (!variable.startsWith('FMO_') || OWN.has(variable) || text === undefined) continue;
    const setting = byVariable.get(variable);
    if (setting === undefined) {
      if (!sections.has(variable.split('_').slice(0, 2).join('_'))) continue;
      const near = nearest(variable, [...byVariable.keys()]);
      problems.push({
        where: variable,
        what: near === undefined ? 'sets nothing; remove it' : `sets nothing; did you mean ${near}?`,
      });
      continue;
    }
    sources.set(setting.path.join('.'), variable);
    put(values, setting.path, read(setting, text));
  }
  return { values, problems, sources };
}

/** What stays text is judged by the schema. */
function read({ type }: Setting, text: string): unknown {
  const structured = type.startsWith('list') || type === 'map';
  if (!structured) return text;
  if (/^\s*[[{]/.test(text) || type === 'map' || type === 'list of map') {
    try {
      return parse(text) as unknown;
    } catch {
      return text;
    }
  }
  return text
    .split(',')
    .map((item) => item.trim())
    .filter((item) => item !== '');
}

function put(into: Record<string, unknown>, path: readonly string[], value: unknown): void {
  const [name = '', ...rest] = path;
  if (rest.length === 0) into[name] = value;
  else put((into[name] ??= {}) as Record<string, unknown>, rest, value);
}
