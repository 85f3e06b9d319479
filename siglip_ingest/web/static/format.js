// Times and lengths of time, for people; and what the views do with the query of the address.

const NAMES = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
const DAYS = new Intl.DateTimeFormat("en", { day: "numeric", month: "short", year: "numeric" });
const MOMENTS = new Intl.DateTimeFormat("en", { dateStyle: "medium", timeStyle: "short" });

/** "12 s", "4 min", "2 h 5 min". */
export function formatDuration(seconds) {
  if (seconds < 1) return "less than 1 s";
  if (seconds < 90) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 90) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return minutes % 60 ? `${hours} h ${minutes % 60} min` : `${hours} h`;
  return `${Math.round(hours / 24)} days`;
}

/** "5 minutes ago", and the day where that is long ago. */
export function formatAgo(date, now = Date.now()) {
  const seconds = (now - new Date(date)) / 1000;
  if (seconds < 45) return "just now";
  if (seconds < 45 * 60) return NAMES.format(-Math.max(Math.round(seconds / 60), 1), "minute");
  if (seconds < 22 * 3600) return NAMES.format(-Math.round(seconds / 3600), "hour");
  if (seconds < 6 * 86_400) return NAMES.format(-Math.round(seconds / 86_400), "day");
  return DAYS.format(new Date(date));
}

/** The moment in full. */
export function formatMoment(date) {
  return MOMENTS.format(new Date(date));
}

/** 12.3 images a second is "12.3", 123 is "123". */
export function formatRate(perSecond) {
  return perSecond < 10 ? perSecond.toFixed(1) : String(Math.round(perSecond));
}

/** The size of a file: "2.4 MB". */
export function formatBytes(bytes) {
  if (bytes < 1e6) return `${Math.max(Math.round(bytes / 1e3), 1)} kB`;
  return bytes < 1e9 ? `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB` : `${(bytes / 1e9).toFixed(1)} GB`;
}

/** The address of a place with some parts of its query changed; null takes one out. */
export function withQuery(place, changes) {
  const query = new URLSearchParams(place.query);
  for (const [name, value] of Object.entries(changes)) {
    if (value === null || value === undefined || value === "") query.delete(name);
    else query.set(name, value);
  }
  const text = query.toString();
  return text ? `${place.path}?${text}` : place.path;
}
