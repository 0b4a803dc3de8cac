package control

import (
	"context"
	"io"

	"tandem/internal/tandem"
)

// ReadObjects decodes and checks the documents of a file as an apply would, each by itself, without
// a server: what they refer to is not looked for. They come in the order to write them. When there
// is a fault the error is an *Error with all of them.
func ReadObjects(ctx context.Context, name string, in io.ReaderAt, size int64) ([]tandem.Object, error) {
	faults := faultList{file: name}
	f, err := openFile(ctx, name, in, size, parser{schema: newSchema(), timeZones: new(timeZones)}, &faults, func(int64) {})
	if err != nil {
		return nil, err
	}
	if err := faults.err(); err != nil {
		return nil, err
	}
	objects := make([]tandem.Object, len(f.docs))
	for i := range objects {
		if objects[i], err = f.object(int32(i)); err != nil {
			return nil, err
		}
	}
	return objects, nil
}
