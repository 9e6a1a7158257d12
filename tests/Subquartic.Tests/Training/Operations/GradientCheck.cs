using Subquartic.Numerics.Kernels;
using Subquartic.Numerics.Tensors;
using Subquartic.Training;

namespace Subquartic.Tests.Training.Operations;

/// <summary>Compares backward passes with central differences of a double-precision restatement of the forward pass.</summary>
internal static class GradientCheck
{
    /// <summary>Runs an operation on all kernel sets and checks the gradient of sum(weights * value) for every entry of its operands.</summary>
    /// <param name="operands">Values of the operands, flattened.</param>
    /// <param name="reference">The forward pass in double: operands in, value out.</param>
    /// <param name="run">Runs the operation: takes the tape and the operands as buffers; returns the value, and for each operand its gradient (null where there is none).</param>
    /// <param name="tolerance">Relative to the largest entry of each gradient; float32 keeps about 1e-6 per operation.</param>
    public static void Run(
        double[][] operands, Func<double[][], double[]> reference, Func<Tape, FloatBuffer[], (Variable Value, Func<int, float[]?> Gradient)> run, double tolerance = 2e-5)
    {
        operands = [.. operands.Select(o => o.Select(x => (double)(float)x).ToArray())];
        double[] expected = reference(operands);
        var random = new Random(expected.Length);
        double[] weights = [.. expected.Select(_ => (double)(float)(random.NextDouble() * 2 - 1))];
        double[][] differences = [.. operands.Select((operand, o) => operand.Select((_, i) => Difference(operands, o, i, reference, weights)).ToArray())];
        foreach ((string name, bool added) in KernelSet.Available.SelectMany(name => new[] { (name, false), (name, true) }))
        {
            using var tape = new Tape(KernelSet.Create(name, 2));
            FloatBuffer[] buffers = [.. operands.Select(o => FloatBuffer.Of([.. o.Select(x => (float)x)]))];
            (Variable value, Func<int, float[]?> gradient) = run(tape, buffers);
            AssertClose(expected, value.Value.Span().ToArray(), tolerance, $"{name}: value");
            for (int o = 0; added && o < operands.Length; o++)
            {
                gradient(o); // an operand that has a gradient already, zero here, has the operation's added to it instead of taking it over
            }

            for (int i = 0; i < weights.Length; i++)
            {
                value.Gradient.Span()[i] = (float)weights[i];
            }

            tape.Backward();
            for (int o = 0; o < operands.Length; o++)
            {
                if (gradient(o) is { } actual)
                {
                    AssertClose(differences[o], actual, tolerance, $"{name}: gradient of operand {o}");
                }
            }

            Array.ForEach(buffers, buffer => buffer.Dispose());
        }
    }

    /// <summary>Uniform values in [-size, size].</summary>
    public static double[] Uniform(int seed, int length, double size = 1)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, length).Select(_ => size * (2 * random.NextDouble() - 1))];
    }

    /// <summary>A leaf of the tape holding a copy of <paramref name="buffer"/>.</summary>
    public static Variable Leaf(Tape tape, FloatBuffer buffer, int rows, int columns)
    {
        Variable leaf = tape.New(rows, columns, needsGradient: true);
        buffer.Span().CopyTo(leaf.Value.Span());
        return leaf;
    }

    /// <summary>A feature map leaf of the tape holding a copy of <paramref name="buffer"/>.</summary>
    public static Variable LeafMap(Tape tape, FloatBuffer buffer, int batch, int height, int width, int channels)
    {
        Variable leaf = tape.NewMap(batch, height, width, channels, needsGradient: true);
        buffer.Span().CopyTo(leaf.Value.Span());
        return leaf;
    }

    /// <summary>A parameter with the values of <paramref name="buffer"/>.</summary>
    public static Parameter Parameter(FloatBuffer buffer, params int[] shape)
    {
        var parameter = new Parameter("test", shape);
        buffer.Span().CopyTo(parameter.Value.Span());
        parameter.Changed();
        return parameter;
    }

    private static double Difference(double[][] operands, int operand, int index, Func<double[][], double[]> reference, double[] weights)
    {
        // Fourth-order central difference: its error is far below float32's at this step.
        const double h = 1e-3;
        double At(double offset)
        {
            double old = operands[operand][index];
            operands[operand][index] = old + offset;
            double sum = reference(operands).Zip(weights, (value, weight) => value * weight).Sum();
            operands[operand][index] = old;
            return sum;
        }

        return (8 * (At(h) - At(-h)) - (At(2 * h) - At(-2 * h))) / (12 * h);
    }

    private static void AssertClose(double[] expected, float[] actual, double tolerance, string what)
    {
        Assert.Equal(expected.Length, actual.Length);
        double size = Math.Max(expected.Max(Math.Abs), 1e-3);
        for (int i = 0; i < expected.Length; i++)
        {
            Assert.True(Math.Abs(expected[i] - actual[i]) <= tolerance * size, $"{what}[{i}] is {actual[i]}, expected {expected[i]}");
        }
    }
}
