// A page that is opened from a folder may start no Worker. This runs a worker's script in a hidden frame instead: it has
// the few parts of a Worker that the site's search uses.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      document.body.append(this.frame);
      const inner = this.frame.contentWindow;
      addEventListener("message", (event) => {
        if (event.source === inner) {
          const told = new MessageEvent("message", { data: event.data });
          this.dispatchEvent(told);
          this.onmessage?.(told);
        }
      });
      inner.postMessage = (data) => parent.postMessage(data, "*");
      inner.importScripts = (...urls) =>
        urls.reduce((before, each) => before.then(() => this.run(each)), Promise.resolve());
      this.ready = this.run(url);
    }

    run(url) {
      return new Promise((loaded, failed) => {
        const inner = this.frame.contentDocument;
        const script = inner.createElement("script");
        script.src = new URL(url, location.href);
        script.onload = loaded;
        script.onerror = failed;
        inner.body.append(script);
      });
    }

    postMessage(data) {
      const inner = this.frame.contentWindow;
      this.ready.then(() => inner.dispatchEvent(new MessageEvent("message", { data })));
    }

    terminate() {
      this.frame.remove();
    }
  };
}
