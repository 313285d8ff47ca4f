// Package s3fake emulates the parts of Amazon S3 that Vigil uses, for tests only:
// conditional reads and writes, versioning and lifecycle configuration, and signed
// requests.
package s3fake

import (
	"crypto/md5" // S3's ETag
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"net/http"
	"strings"
	"sync"

	"vigil/internal/testing/awsfake"
)

// Server is one bucket, addressed path-style.
type Server struct {
	service awsfake.Service
	bucket  string

	mu       sync.Mutex
	objects  map[string][]byte
	versions map[string][][]byte // replaced contents, oldest first

	// Set the fields below before requests are served, or in Change.

	Versioning       string // "Enabled", "Suspended" or empty
	Lifecycle        string // body of the lifecycle configuration; empty: none
	IgnoreConditions bool   // no compare-and-swap
}

// New returns a bucket without objects.
func New(cloud *awsfake.Cloud, bucket string) *Server {
	s := &Server{bucket: bucket, objects: map[string][]byte{}, versions: map[string][][]byte{}}
	s.service = awsfake.Service{
		Cloud: cloud, Name: "s3", DeniedCode: "AccessDenied", IDHeader: "X-Amz-Request-Id",
		Classify: s.classify, Answer: s.answer, Refuse: refuse,
	}
	return s
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.service.ServeHTTP(w, r) }

// Change calls f, which may change settings while requests are served.
func (s *Server) Change(f func(s *Server)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(s)
}

// Object returns an object's content, or nil.
func (s *Server) Object(key string) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.objects[key]
}

// SetVersioning sets Versioning while the server may serve.
func (s *Server) SetVersioning(status string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Versioning = status
}

// SetObject replaces an object without a client's request; nil deletes it.
func (s *Server) SetObject(key string, data []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if data == nil {
		delete(s.objects, key)
		return
	}
	s.objects[key] = data
}

// Versions returns an object's replaced contents, oldest first.
func (s *Server) Versions(key string) [][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([][]byte(nil), s.versions[key]...)
}

// ExpireVersions deletes replaced contents, as a lifecycle rule does eventually.
func (s *Server) ExpireVersions() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.versions = map[string][][]byte{}
}

func (s *Server) classify(r *http.Request, _ []byte) (awsfake.Call, error) {
	bucket, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	call := awsfake.Call{Resource: "arn:aws:s3:::" + bucket, Context: map[string][]string{
		// The emulator has no TLS; policies see what they would in AWS.
		"aws:SecureTransport": {"true"},
	}}
	query := r.URL.Query()
	switch {
	case bucket != s.bucket:
		return call, &awsfake.Refusal{Status: http.StatusNotFound, Code: "NoSuchBucket", Message: "The specified bucket does not exist"}
	case key == "" && r.Method == http.MethodGet && query.Has("versioning"):
		call.Action = "s3:GetBucketVersioning"
	case key == "" && r.Method == http.MethodGet && query.Has("lifecycle"):
		call.Action = "s3:GetLifecycleConfiguration"
	case key != "" && (r.Method == http.MethodGet || r.Method == http.MethodHead):
		call.Action, call.Resource = "s3:GetObject", call.Resource+"/"+key
	case key != "" && r.Method == http.MethodPut:
		call.Action, call.Resource = "s3:PutObject", call.Resource+"/"+key
		call.Context["s3:ObjectCreationOperation"] = []string{"true"}
		for _, header := range []string{"If-Match", "If-None-Match"} {
			if value := r.Header.Get(header); value != "" {
				call.Context["s3:"+strings.ToLower(header)] = []string{value}
			}
		}
	default:
		return call, &awsfake.Refusal{Status: http.StatusNotImplemented, Code: "NotImplemented", Message: "A header you provided implies functionality that is not implemented"}
	}
	return call, nil
}

func (s *Server) answer(w http.ResponseWriter, r *http.Request, call awsfake.Call, caller *awsfake.Caller, body []byte) {
	_, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	s.mu.Lock()
	defer s.mu.Unlock()
	var err *awsfake.Refusal
	switch call.Action {
	case "s3:GetBucketVersioning":
		status := ""
		if s.Versioning != "" {
			status = "<Status>" + s.Versioning + "</Status>"
		}
		writeXML(w, http.StatusOK, `<VersioningConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">`+status+`</VersioningConfiguration>`)
	case "s3:GetLifecycleConfiguration":
		if s.Lifecycle == "" {
			err = &awsfake.Refusal{Status: http.StatusNotFound, Code: "NoSuchLifecycleConfiguration", Message: "The lifecycle configuration does not exist"}
			break
		}
		writeXML(w, http.StatusOK, `<LifecycleConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">`+s.Lifecycle+`</LifecycleConfiguration>`)
	case "s3:GetObject":
		err = s.get(w, r, key, caller)
	default:
		err = s.put(w, r, key, body)
	}
	if err != nil {
		refuse(w, r, w.Header().Get("X-Amz-Request-Id"), err)
	}
}

func etag(data []byte) string {
	sum := md5.Sum(data) // S3's ETag
	return `"` + hex.EncodeToString(sum[:]) + `"`
}

var (
	errPrecondition = &awsfake.Refusal{Status: http.StatusPreconditionFailed, Code: "PreconditionFailed", Message: "At least one of the pre-conditions you specified did not hold"}
	errNoSuchKey    = &awsfake.Refusal{Status: http.StatusNotFound, Code: "NoSuchKey", Message: "The specified key does not exist."}
)

func (s *Server) get(w http.ResponseWriter, r *http.Request, key string, caller *awsfake.Caller) *awsfake.Refusal {
	data, ok := s.objects[key]
	if !ok {
		// A caller that may not list doesn't learn that an object doesn't exist.
		list := awsfake.Call{Action: "s3:ListBucket", Resource: "arn:aws:s3:::" + s.bucket}
		if caller.Check(list, "", 0) != nil {
			return &awsfake.Refusal{Status: http.StatusForbidden, Code: "AccessDenied", Message: "Access Denied"}
		}
		return errNoSuchKey
	}
	w.Header().Set("ETag", etag(data))
	if !s.IgnoreConditions && r.Header.Get("If-None-Match") == etag(data) {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	_, _ = w.Write(data)
	return nil
}

func (s *Server) put(w http.ResponseWriter, r *http.Request, key string, body []byte) *awsfake.Refusal {
	current, exists := s.objects[key]
	if !s.IgnoreConditions {
		if r.Header.Get("If-None-Match") == "*" && exists {
			return errPrecondition
		}
		if match := r.Header.Get("If-Match"); match != "" && !exists {
			return errNoSuchKey // as in AWS
		} else if match != "" && match != etag(current) {
			return errPrecondition
		}
	}
	if exists && s.Versioning == "Enabled" {
		s.versions[key] = append(s.versions[key], current)
	}
	s.objects[key] = body
	w.Header().Set("ETag", etag(body))
	return nil
}

func writeXML(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	fmt.Fprint(w, xml.Header+body)
}

func refuse(w http.ResponseWriter, _ *http.Request, requestID string, refusal *awsfake.Refusal) {
	var message strings.Builder
	_ = xml.EscapeText(&message, []byte(refusal.Message))
	writeXML(w, refusal.Status, "<Error><Code>"+refusal.Code+"</Code><Message>"+message.String()+"</Message><RequestId>"+requestID+"</RequestId></Error>")
}
