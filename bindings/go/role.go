package emr

// #include "bridge.h"
import "C"

// A Role is what a tensor is to its model. Tensors of other roles than RoleWeight are merged only where the policy
// says so.
type Role uint32

// The roles.
const (
	RoleWeight    Role = C.EMR_ROLE_WEIGHT
	RoleCode      Role = C.EMR_ROLE_CODE
	RoleSidecar   Role = C.EMR_ROLE_SIDECAR
	RoleStatistic Role = C.EMR_ROLE_STATISTIC
	RoleConstant  Role = C.EMR_ROLE_CONSTANT
	RoleMagnitude Role = C.EMR_ROLE_MAGNITUDE
)

// String is the role's name: "weight", "code", "sidecar", "statistic", "constant", "magnitude", or "?".
func (r Role) String() string {
	return C.GoString(C.emr_role_name(C.emr_role(r)))
}

// A TensorRole says what a tensor is.
type TensorRole struct {
	Role          Role
	Family        string  // "FP8 with a scale a tensor"; "" for a weight
	Code          *Tensor // a side-car's; nil for others
	CanDequantise bool    // a code or its side-car: OpenOptions.Dequantise makes it F32
}

// Role is what the tensor is among those that its model has now.
func (t Tensor) Role() (TensorRole, error) {
	if err := t.model.h.use(); err != nil {
		return TensorRole{}, err
	}
	defer t.model.h.done()
	c := C.emr_tensor_role{size: C.sizeof_emr_tensor_role}
	if err := outcome(C.emr_tensor_get_role(t.c, &c)); err != nil {
		return TensorRole{}, err
	}
	role := TensorRole{Role: Role(c.role), CanDequantise: c.can_dequantise != 0}
	if c.family != nil {
		role.Family = C.GoString(c.family)
	}
	if c.code != nil {
		code := t.model.newTensor(c.code)
		role.Code = &code
	}
	return role, nil
}
