using System.Numerics.Tensors;
using Subquartic.Numerics.Tensors;
using Subquartic.Numerics.Threading;

namespace Subquartic.Training.Operations;

/// <summary>Sums and activations of all entries.</summary>
public static class Elementwise
{
    /// <summary>y = a + b.</summary>
    /// <param name="tape">The tape.</param>
    /// <param name="a">Any shape.</param>
    /// <param name="b">The same shape.</param>
    /// <returns>The same shape, a feature map if <paramref name="a"/> is one.</returns>
    public static Variable Add(this Tape tape, Variable a, Variable b)
    {
        Variable y = tape.Like(a, a.NeedsGradient || b.NeedsGradient);
        Check(a, b);
        AddSpans(tape.Kernels.Pool, a.Value, b.Value, y.Value);
        tape.Record(y, () =>
        {
            tape.Accumulate(b, y.Gradient);
            tape.PassOn(y, a);
        });
        return y;
    }

    /// <summary>y = x / (1 + exp(-x)): SiLU.</summary>
    /// <param name="tape">The tape.</param>
    /// <param name="x">Any shape.</param>
    /// <returns>The same shape.</returns>
    public static Variable Silu(this Tape tape, Variable x)
    {
        Variable y = tape.Like(x, x.NeedsGradient);
        tape.Kernels.Silu(x.Value.Span(), y.Value.Span());
        tape.Record(y, () =>
        {
            Span<float> dx = x.GradientTarget(out bool add).Span();
            tape.Kernels.SiluGradient(x.Value.Span(), y.Gradient.Span(), dx, add);
        });
        return y;
    }

    /// <summary>y = x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))): GELU in its tanh form.</summary>
    /// <param name="tape">The tape.</param>
    /// <param name="x">Any shape.</param>
    /// <returns>The same shape.</returns>
    public static Variable Gelu(this Tape tape, Variable x)
    {
        Variable y = tape.Like(x, x.NeedsGradient);
        tape.Kernels.Gelu(x.Value.Span(), y.Value.Span());
        tape.Record(y, () =>
        {
            Span<float> dx = x.GradientTarget(out bool add).Span();
            tape.Kernels.GeluGradient(x.Value.Span(), y.Gradient.Span(), dx, add);
        });
        return y;
    }

    /// <summary>A new variable of the shape of another.</summary>
    internal static Variable Like(this Tape tape, Variable x, bool needsGradient) => x.Batch > 0
        ? tape.NewMap(x.Batch, x.Height, x.Width, x.Value.Columns, needsGradient)
        : tape.New(x.Value.Rows, x.Value.Columns, needsGradient);

    /// <summary>x.Gradient += gradient, if x wants one.</summary>
    internal static void Accumulate(this Tape tape, Variable x, Matrix gradient)
    {
        if (x.NeedsGradient)
        {
            Matrix target = x.GradientTarget(out bool add);
            if (add)
            {
                AddSpans(tape.Kernels.Pool, target, gradient, target);
            }
            else
            {
                ForBlocks(tape.Kernels.Pool, target, range => gradient.Span()[range].CopyTo(target.Span()[range]));
            }
        }
    }

    /// <summary>x.Gradient += y.Gradient at the end of the backward pass of y, after which nobody reads that gradient: x takes over its memory if
    /// it has no gradient yet. One x per y.</summary>
    internal static void PassOn(this Tape tape, Variable y, Variable x)
    {
        if (x.NeedsGradient && !x.Adopt(y.Gradient))
        {
            AddSpans(tape.Kernels.Pool, x.Gradient, y.Gradient, x.Gradient);
        }
    }

    /// <summary>Runs an action for 0 … count - 1 on all threads.</summary>
    internal static void For(this WorkerPool pool, int count, Action<int> action)
    {
        var body = new ActionBody(action);
        pool.Run(count, ref body);
    }

    private static void AddSpans(WorkerPool pool, Matrix a, Matrix b, Matrix sum) =>
        ForBlocks(pool, sum, range => TensorPrimitives.Add(a.Span()[range], b.Span()[range], sum.Span()[range]));

    /// <summary>Runs an action for stretches of the values of a matrix on all threads.</summary>
    private static void ForBlocks(WorkerPool pool, Matrix matrix, Action<Range> action)
    {
        const int block = 1 << 15;
        int length = matrix.Rows * matrix.Columns;
        pool.For((length + block - 1) / block, task => action((task * block)..Math.Min((task + 1) * block, length)));
    }

    private static void Check(Variable a, Variable b)
    {
        if (a.Value.Rows != b.Value.Rows || a.Value.Columns != b.Value.Columns)
        {
            throw new ArgumentException($"({a.Value.Rows}, {a.Value.Columns}) and ({b.Value.Rows}, {b.Value.Columns}) differ.");
        }
    }

    private readonly struct ActionBody(Action<int> action) : IParallelBody
    {
        public void Invoke(int task) => action(task);
    }
}
