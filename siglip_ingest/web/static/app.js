// The page: the header with its navigation and theme, the view that the address names, and what any view may need.
import { connection, giveKey, hasKey, learnScope, needsKey, recoveries, tryAgain } from "./api.js";
import { IngestView } from "./ingest.js";
import { LabelsView } from "./labels.js";
import { ModelsView } from "./models.js";
import { followLink, usePlace } from "./router.js";
import { SearchView } from "./search/search.js";
import { Dialog, Icon, IconButton, Toasts } from "./ui.js";
import { html, render, useEffect, useState } from "./vendor/htm-preact.js";

const VIEWS = [
  { path: "/", name: "Search", view: SearchView },
  { path: "/labels", name: "Labels", view: LabelsView },
  { path: "/ingest", name: "Ingest", view: IngestView },
  { path: "/models", name: "Models", view: ModelsView },
];
const THEMES = { system: "light", light: "dark", dark: "system" }; // and the one that follows
const THEME_ICONS = { system: "system", light: "sun", dark: "moon" };

function ThemeButton() {
  const [theme, setTheme] = useState(() => document.documentElement.dataset.theme ?? "system");
  const change = () => {
    const next = THEMES[theme];
    setTheme(next);
    if (next === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = next;
    try {
      localStorage.setItem("siglip.theme", next);
    } catch {
      // It lasts until the page is left.
    }
  };
  return html`<${IconButton} icon=${THEME_ICONS[theme]} label=${`Theme: ${theme}. Change to ${THEMES[theme]}`} onClick=${change} />`;
}

function Header({ path }) {
  return html`<header class="header">
    <a class="brand" href="/" onClick=${followLink} aria-label="siglip_ingest: start">
      <span class="brand-mark" aria-hidden="true"><${Icon} name="search" size=${16} /></span>
      <span class="brand-name">siglip_ingest</span>
    </a>
    <nav class="nav" aria-label="Views">
      ${VIEWS.map((each) => html`<a key=${each.path} href=${each.path} onClick=${followLink} aria-current=${each.path === path ? "page" : undefined}>${each.name}</a>`)}
    </nav>
    <${ThemeButton} />
  </header>`;
}

function AwayBanner() {
  if (connection.use() !== "away") return null;
  return html`<div class="banner" role="alert">
    <${Icon} name="warning" />
    <span>The server doesn't answer. Trying again until it does; nothing is lost.</span>
    <button type="button" class="button small" onClick=${tryAgain}>Try now</button>
  </div>`;
}

const UNKNOWN_KEY = "The server doesn't know this key, or it has expired.";

function KeyDialog() {
  const [key, setKey] = useState("");
  const [problem, setProblem] = useState(hasKey() ? UNKNOWN_KEY : null); // the one that was given before
  const [isBusy, setBusy] = useState(false);
  const submit = async (event) => {
    event.preventDefault();
    if (!key.trim()) return;
    setBusy(true);
    try {
      if (await giveKey(key.trim())) return;
      setProblem(UNKNOWN_KEY);
    } catch (error) {
      setProblem(error.detail ?? String(error));
    }
    setBusy(false);
  };
  return html`<${Dialog} title="A key is needed" onClose=${() => needsKey.set(false)}>
    <form class="form" onSubmit=${submit}>
      <p>This server answers only those who have a key. Whoever runs it makes one.</p>
      <label class="field">
        <span>Key</span>
        <input type="password" autocomplete="current-password" value=${key} onInput=${(event) => setKey(event.currentTarget.value)} />
      </label>
      ${problem && html`<p class="form-error" role="alert">${problem}</p>`}
      <p class="quiet">It is kept in this tab until you close it.</p>
      <footer class="dialog-foot"><button type="submit" class="button primary" disabled=${isBusy}>Use this key</button></footer>
    </form>
  <//>`;
}

function App() {
  const place = usePlace();
  const recovery = recoveries.use();
  const isKeyNeeded = needsKey.use();
  useEffect(() => { learnScope(); }, [recovery]);
  const shown = VIEWS.find((each) => each.path === place.path) ?? VIEWS[0];
  useEffect(() => {
    if (shown.path !== "/") document.title = `${shown.name} – siglip_ingest`; // the search names itself
  }, [shown]);
  return html`
    <a class="skip" href="#main">Skip to the content</a>
    <${Header} path=${shown.path} />
    <${AwayBanner} />
    <${shown.view} key=${shown.path} place=${place} />
    ${isKeyNeeded && html`<${KeyDialog} />`}
    <${Toasts} />
  `;
}

render(html`<${App} />`, document.getElementById("app"));
