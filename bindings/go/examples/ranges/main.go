// Ranges writes a task's weights out of a bundle and a base that lie in object storage. Neither is downloaded
// first: what is needed is read by HTTP range requests, each byte once.
//
//	ranges https://storage/base.safetensors https://storage/all.emr french french.safetensors
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"

	emr "libemr/bindings/go"
)

// cookbook: begin

// An object in the storage, as an io.ReaderAt.
type object struct{ url string }

func (o object) ReadAt(p []byte, offset int64) (int, error) {
	request, err := http.NewRequest(http.MethodGet, o.url, nil)
	if err != nil {
		return 0, err
	}
	request.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", offset, offset+int64(len(p))-1))
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusPartialContent {
		return 0, fmt.Errorf("%s: %s", o.url, response.Status)
	}
	return io.ReadFull(response.Body, p)
}

func (o object) size() (int64, error) {
	response, err := http.Head(o.url)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK || response.ContentLength < 0 {
		return 0, fmt.Errorf("%s: %s, of unknown length", o.url, response.Status)
	}
	return response.ContentLength, nil
}

func writeTask(ctx context.Context, baseURL, bundleURL, name, path string) error {
	baseSize, err := object{baseURL}.size()
	if err != nil {
		return err
	}
	bundleSize, err := object{bundleURL}.size()
	if err != nil {
		return err
	}
	base, err := emr.NewSafetensors(object{baseURL}, baseSize, baseURL, nil)
	if err != nil {
		return err
	}
	defer base.Close()
	bundle, err := emr.NewBundle(object{bundleURL}, bundleSize, bundleURL, nil)
	if err != nil {
		return err
	}
	defer bundle.Close()
	task, err := bundle.Task(name)
	if err != nil {
		return err
	}
	// The base is compared with the bundle's while it is read to be written, not before: else it is read
	// twice.
	model, err := task.OpenModel(ctx, base, &emr.TaskOptions{Check: emr.CheckWrite})
	if err != nil {
		return err
	}
	defer model.Close()
	return model.Write(ctx, path, &emr.WriteOptions{Replace: true})
}

// cookbook: end

func main() {
	if len(os.Args) != 5 {
		fmt.Fprintln(os.Stderr, "usage: ranges BASE-URL BUNDLE-URL TASK OUT.safetensors")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	err := writeTask(ctx, os.Args[1], os.Args[2], os.Args[3], os.Args[4])
	if err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "ranges:", err)
	}
	if err != nil {
		stop()
		os.Exit(1)
	}
}
