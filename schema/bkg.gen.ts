// The declared state as types, generated from bkg.schema.json by devops/gen.ts: do not edit.

/**
 * A host name without port and wildcards: mybox.lan.
 */
export type HostName = string;
/**
 * Scheme, host and port as browsers send them, in lower case and without a path: https://app.example; or "*".
 */
export type Origin = string;
/**
 * Lower-case letters, digits and hyphens, 1 to 63 characters.
 */
export type Name = string;
export type PositiveInteger = number;
/**
 * A capability (llm.chat), a right (config.read), all of a kind (repo.*), or everything (*).
 */
export type Scope = string;

/**
 * The declared state of one appliance: bkg.yaml.
 */
export interface Declared {
  /**
   * Version of this file format.
   */
  version: 1;
  server?: Server;
  /**
   * Memory budget for models and plugins, e.g. 12GiB. Absent: what the machine has.
   */
  memory?: string;
  /**
   * Policy per kind of drift: heal it, only report it, or ignore it.
   */
  drift?: {
    [k: string]: 'heal' | 'report' | 'ignore';
  };
  /**
   * How models are fetched, and how often those that are here are checked.
   */
  downloads?: {
    /**
     * Parts of one file that come at once, where the server gives parts.
     */
    connections?: number;
    /**
     * Bytes a second that all downloads together may take, e.g. 10MiB. Absent: all there is.
     */
    bandwidth?: string;
    /**
     * How often all bytes of each model are hashed anew; 0s: only when somebody asks.
     */
    verifyEvery?: string;
  };
  /**
   * Models by name.
   */
  models?: {
    [k: string]: Model;
  };
  /**
   * Plugins (native processes) by name.
   */
  plugins?: {
    [k: string]: Plugin;
  };
  /**
   * People who may sign in, by name.
   */
  users?: {
    [k: string]: User;
  };
  /**
   * API keys by id; only their hashes stand here.
   */
  keys?: {
    [k: string]: Key;
  };
}
/**
 * Where the appliance listens.
 */
export interface Server {
  /**
   * Address that web and api listen on: 127.0.0.1, ::1 or localhost (this machine only), one address of this machine, 0.0.0.0 (all of IPv4) or :: (all). Beyond this machine it needs a user with a password, or a key.
   */
  host?: string;
  /**
   * Names besides localhost and addresses that this appliance answers to: mybox.lan.
   */
  names?: HostName[];
  /**
   * Preferred ports; a taken one gives way to a free one. BKG_WEB_PORT, BKG_API_PORT and BKG_PLUGIN_BUS_PORT win.
   */
  ports?: {
    /**
     * Web UI, and everything of the api port.
     */
    web?: number;
    /**
     * OpenAI-compatible /v1 and the admin API.
     */
    api?: number;
    /**
     * Plugin bus.
     */
    bus?: number;
  };
  /**
   * Web and api speak HTTPS with this certificate. Another one in these files is taken in within seconds.
   */
  tls?: {
    /**
     * Certificate in PEM form, with those it was issued by after it: file:certs/tls.crt, relative to bkg.yaml.
     */
    cert: string;
    /**
     * Its private key in PEM form, without a passphrase: file:certs/tls.key, relative to bkg.yaml.
     */
    key: string;
  };
  /**
   * Web pages elsewhere that may call /v1 and /api, with a token of theirs; never with cookies.
   */
  cors?: {
    /**
     * Where such pages come from: https://app.example, http://localhost:3000, or "*" for anywhere.
     */
    origins: Origin[];
  };
  /**
   * Limit of the control plane, per client address.
   */
  rateLimit?: {
    /**
     * Requests a minute from one address.
     */
    requestsPerMinute?: number;
  };
}
/**
 * One model.
 */
export interface Model {
  /**
   * Where it comes from: hf://org/repo/path@revision, https://…, file:path (relative to bkg.yaml) or bundled:path (relative to the installation). A whole folder: hf://org/repo@revision, hf://org/repo/folder/@revision, https://…/ with `files`, or file:folder. The first of several shards stands for all of them.
   */
  source: string;
  /**
   * Of a folder, the files that are wanted: on the hub patterns like *.safetensors, elsewhere names.
   *
   * @minItems 1
   */
  files?: string[];
  /**
   * What its bytes must hash to. Of several files: the sha256 of what `sha256sum` prints of them, ordered by name.
   */
  sha256?: string;
  /**
   * present: kept on this machine; ondemand: fetched when first wanted; absent: removed.
   */
  state?: 'present' | 'ondemand' | 'absent';
}
/**
 * One instance of a plugin.
 */
export interface Plugin {
  /**
   * Which plugin: the name of a bundled one (default: this instance's own name), or ./folder beside bkg.yaml.
   */
  use?: string;
  /**
   * The manifest itself, inline, for a binary that has no folder.
   */
  manifest?: {
    [k: string]: unknown;
  };
  /**
   * running; stopped; or ondemand: started by the first request, stopped after `idle`.
   */
  state?: 'running' | 'stopped' | 'ondemand';
  /**
   * ondemand: stop after this long without a request.
   */
  idle?: string;
  /**
   * Which declared model fills which role of the manifest.
   */
  models?: {
    [k: string]: Name;
  };
  /**
   * The plugin's own settings; its manifest has their schema.
   */
  config?: {
    [k: string]: unknown;
  };
  /**
   * Environment variables for the process. One whose name looks like a secret (token, key, secret, password, credential …) stands there as a reference: ${env:NAME}.
   */
  env?: {
    [k: string]: string;
  };
  /**
   * Plugins that must be ready first.
   */
  needs?: Name[];
  /**
   * What it may take and how often it may be asked.
   */
  limits?: {
    /**
     * Stopped and restarted when it holds more.
     */
    memory?: string;
    /**
     * Share of one core.
     */
    cpu?: string;
    /**
     * Longest silence of an answer before a request is given up.
     */
    timeout?: string;
    /**
     * Requests a minute over all its capabilities.
     */
    requestsPerMinute?: number;
    /**
     * Requests at once.
     */
    concurrent?: number;
    /**
     * Limits of single capabilities; they win over the manifest's.
     */
    capabilities?: {
      [k: string]: {
        requestsPerMinute?: PositiveInteger;
        concurrent?: PositiveInteger;
      };
    };
  };
  /**
   * Back-off after a failure: at once, then `first`, doubled up to `max`.
   */
  restart?: {
    /**
     * Delay before the second restart in a row.
     */
    first?: string;
    /**
     * Longest delay.
     */
    max?: string;
  };
  /**
   * Capabilities it may call on the bus, of those its manifest asks for.
   */
  grants?: string[];
  /**
   * Lower-case letters, digits and hyphens, 1 to 63 characters.
   */
  key?: string;
}
/**
 * One person.
 */
export interface User {
  /**
   * What the person may do.
   */
  role: 'admin' | 'developer' | 'readonly';
  /**
   * A bcrypt hash, or where the password stands: never the password itself.
   */
  password?: {
    /**
     * bcrypt hash of the password.
     */
    hash?: string;
    /**
     * Name of the environment variable that holds it: letters, digits and _.
     */
    env?: string;
    /**
     * File that holds it, relative to bkg.yaml.
     */
    file?: string;
  };
}
/**
 * One API key. Its secret stands nowhere: `bkg key mint` shows it once.
 */
export interface Key {
  /**
   * What it is for, in words.
   */
  name?: string;
  /**
   * Lower-case letters, digits and hyphens, 1 to 63 characters.
   */
  user: string;
  /**
   * What it may do, of what its user may.
   */
  scopes: Scope[];
  /**
   * bcrypt hash of its secret.
   */
  hash: string;
  /**
   * The secret before the last rotation, which is good for a while yet.
   */
  previous?: {
    /**
     * bcrypt hash of the secret before.
     */
    hash: string;
    /**
     * When it ends: 2027-01-01 or 2027-01-01T12:00:00Z.
     */
    until: string;
  };
  /**
   * When it ends: 2027-01-01 (its first second, UTC) or 2027-01-01T12:00:00Z.
   */
  expires?: string;
  /**
   * How much it may ask of /v1.
   */
  limits?: {
    /**
     * Requests a minute.
     */
    requestsPerMinute?: number;
    /**
     * Tokens a minute, of questions and answers together.
     */
    tokensPerMinute?: number;
    /**
     * Requests at once.
     */
    concurrent?: number;
  };
  /**
   * Plugins it may reach. Absent: all of them.
   */
  plugins?: Name[];
}
