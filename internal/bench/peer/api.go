package peer

import (
	"encoding/json"
	"net/http"
	"strings"

	"github.com/gin-gonic/gin"
	"github.com/golang-jwt/jwt/v5"
	"github.com/hibiken/asynq"
)

// submission is a job as it is sent to the API.
type submission struct {
	Type    string          `json:"type" binding:"required,max=100"`
	Payload json.RawMessage `json:"payload" binding:"required"`
	Queue   string          `json:"queue"`
}

func newAPI(client *asynq.Client, key []byte) http.Handler {
	gin.SetMode(gin.ReleaseMode)
	r := gin.New()
	r.Use(gin.Recovery())
	r.GET("/metrics", gin.WrapH(metrics))
	r.POST("/v1/jobs", signedIn(key), func(c *gin.Context) {
		var in submission
		if err := c.ShouldBindJSON(&in); err != nil {
			c.JSON(http.StatusUnprocessableEntity, gin.H{"error": err.Error()})
			return
		}
		info, err := client.EnqueueContext(
			c.Request.Context(),
			asynq.NewTask(in.Type, in.Payload),
			asynq.Queue(in.Queue),
		)
		if err != nil {
			c.JSON(http.StatusServiceUnavailable, gin.H{"error": err.Error()})
			return
		}
		c.JSON(
			http.StatusAccepted,
			gin.H{"id": info.ID, "state": info.State.String(), "queue": info.Queue, "type": info.Type},
		)
	})
	return r
}

// signedIn accepts requests with a token of this process that has not expired.
func signedIn(key []byte) gin.HandlerFunc {
	parser := jwt.NewParser(jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}), jwt.WithExpirationRequired())
	return func(c *gin.Context) {
		token, ok := strings.CutPrefix(c.GetHeader("Authorization"), "Bearer ")
		claims := &jwt.RegisteredClaims{}
		if _, err := parser.ParseWithClaims(token, claims, func(*jwt.Token) (any, error) { return key, nil }); !ok ||
			err != nil ||
			claims.Subject == "" {
			c.AbortWithStatusJSON(http.StatusUnauthorized, gin.H{"error": "who are you?"})
			return
		}
		c.Set("user", claims.Subject)
	}
}
