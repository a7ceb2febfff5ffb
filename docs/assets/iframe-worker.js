// A page that is opened from a folder may start no Worker. This runs a worker's script in a hidden frame instead: it has
// the few parts of a Worker that the site's search uses.
if (location.protocol === "file:") {
  window.Worker = class {
    constructor(url) {
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      document.body.append(this.frame);
      this.inner = this.frame.contentWindow;
      // A document that was written stays: some browsers replace the first empty one.
      this.inner.document.open();
      this.inner.document.write("<body></body>");
      this.inner.document.close();
      this.inner.postMessage = (data) => setTimeout(() => this.onmessage?.(this.message(data)));
      this.inner.importScripts = (...urls) =>
        urls.reduce((before, each) => before.then(() => this.run(each)), Promise.resolve());
      this.ready = this.run(url).catch((error) => this.onerror?.(error));
    }

    message(data) {
      return new MessageEvent("message", { data: structuredClone(data) });
    }

    run(url) {
      return new Promise((loaded, failed) => {
        const script = this.inner.document.createElement("script");
        script.src = new URL(url, location.href);
        script.onload = loaded;
        script.onerror = failed;
        this.inner.document.body.append(script);
      });
    }

    postMessage(data) {
      this.ready.then(() => this.inner.dispatchEvent(this.message(data)));
    }

    terminate() {
      this.frame.remove();
    }
  };
}
