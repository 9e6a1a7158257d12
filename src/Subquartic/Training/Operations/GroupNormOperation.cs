using System.Numerics.Tensors;
using Subquartic.Numerics.Kernels;
using Subquartic.Numerics.Tensors;

namespace Subquartic.Training.Operations;

/// <summary>Group normalisation of feature maps, with the activation that follows it.</summary>
public static class GroupNormOperation
{
    /// <summary>y = act(n(x) weight + bias), where n normalises every group of channels of every image over all its pixels.</summary>
    /// <param name="tape">The tape.</param>
    /// <param name="x">(B, H, W, C); C is a multiple of <paramref name="groups"/>.</param>
    /// <param name="weight">(C).</param>
    /// <param name="bias">(C).</param>
    /// <param name="silu">Whether SiLU follows.</param>
    /// <param name="groups">Number of groups: 32 in VAR.</param>
    /// <param name="epsilon">Added to the variance: 1e-6 in VAR.</param>
    /// <returns>(B, H, W, C).</returns>
    /// <exception cref="ArgumentException">The channels do not divide.</exception>
    public static Variable GroupNorm(
        this Tape tape, Variable x, Parameter weight, Parameter bias, bool silu, int groups = 32, float epsilon = 1e-6f)
    {
        int channels = x.Value.Columns;
        if (channels % groups != 0)
        {
            throw new ArgumentException($"{channels} channels are not a multiple of {groups} groups.", nameof(x));
        }

        // With weight 1 and bias 0 the kernel gives the normalisation itself, n = x inverse + offset; then y = act(x scale + shift).
        KernelSet kernels = tape.Kernels;
        Variable y = tape.Like(x, x.NeedsGradient || weight.Trainable || bias.Trainable);
        Matrix neutral = tape.Take(2, channels);
        neutral.Row(0).Fill(1);
        neutral.Row(1).Clear();
        Matrix inverse = tape.Take(x.Batch, channels);
        Matrix offset = tape.Take(x.Batch, channels);
        Matrix scale = tape.Take(x.Batch, channels);
        Matrix shift = tape.Take(x.Batch, channels);
        kernels.GroupNorm(x.Map, neutral.Row(0), neutral.Row(1), groups, epsilon, inverse, offset);
        for (int b = 0; b < x.Batch; b++)
        {
            TensorPrimitives.Multiply(inverse.Row(b), weight.Value.Span(), scale.Row(b));
            TensorPrimitives.MultiplyAdd(offset.Row(b), weight.Value.Span(), bias.Value.Span(), shift.Row(b));
        }

        kernels.ScaleShift(x.Map, scale, shift, silu, y.Map);
        tape.Record(y, () =>
        {
            bool add = false;
            FeatureMap dx = x.NeedsGradient ? x.AsMap(x.GradientTarget(out add)) : default;
            Matrix unused = tape.Take(2, channels);
            kernels.GroupNormGradient(
                x.Map, weight.Value.Span(), groups, scale, shift, inverse, offset, silu, y.GradientMap, dx, add,
                weight.Trainable ? weight.Gradient.Span() : unused.Row(0), bias.Trainable ? bias.Gradient.Span() : unused.Row(1));
        });
        return y;
    }
}
