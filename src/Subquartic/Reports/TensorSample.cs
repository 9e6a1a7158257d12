using Subquartic.Attention.HigherOrder;
using Subquartic.Criteria;
using Subquartic.Numerics.Tensors;

namespace Subquartic.Reports;

/// <summary>Operands of tensor attention in float32, with room for gradients.</summary>
public sealed class TensorSample : IDisposable
{
    private readonly List<FloatBuffer> _memory = [];

    /// <summary>Random operands with entries in [-1, 1]; the largest score is reached.</summary>
    /// <param name="order">k.</param>
    /// <param name="queries">L.</param>
    /// <param name="keys">S of every set.</param>
    /// <param name="width">d.</param>
    /// <param name="valueWidth">d_v.</param>
    /// <param name="halfRange">Largest score.</param>
    /// <param name="seed">Seed.</param>
    /// <param name="corners">Whether entries are -1 or 1.</param>
    public TensorSample(int order, int queries, int keys, int width, int valueWidth, double halfRange, int seed, bool corners = false)
    {
        var random = new Random(seed);
        Matrix[] sets = [.. Enumerable.Range(0, order - 1).Select(_ => Random(keys, width))];
        Matrix[] values = [.. Enumerable.Range(0, order - 1).Select(_ => Random(keys, valueWidth))];
        Matrix q = Random(queries, width);
        foreach (Matrix matrix in sets.Append(q))
        {
            matrix.Row(0).Fill(1);
        }

        Input = new TensorInput(q, sets, values, (float)(halfRange / width));
        Upstream = Random(queries, valueWidth);
        Gradient = Room();

        Matrix Random(int rows, int columns)
        {
            Matrix matrix = New(rows, columns);
            foreach (ref float value in matrix.Span())
            {
                value = (2 * random.NextSingle()) - 1;
                value = corners ? MathF.CopySign(1, value) : value;
            }

            return matrix;
        }
    }

    /// <summary>The operands of a construction, rounded to float32.</summary>
    /// <param name="problem">The construction.</param>
    public TensorSample(TensorProblem problem)
    {
        ArgumentNullException.ThrowIfNull(problem);
        Input = new TensorInput(Narrow(problem.Queries), [.. problem.Keys.Select(Narrow)], [.. problem.Values.Select(Narrow)], 1);
        Upstream = New(Input.Queries.Rows, problem.Values[0].GetLength(1));
        Gradient = Room();
    }

    /// <summary>The operands.</summary>
    public TensorInput Input { get; }

    /// <summary>A gradient of the output (L, d_v).</summary>
    public Matrix Upstream { get; }

    /// <summary>Room for the gradients of the operands.</summary>
    public TensorGradient Gradient { get; }

    /// <summary>Sets the gradients to 0.</summary>
    public void ClearGradient()
    {
        foreach (Matrix matrix in Gradient.Keys.Concat(Gradient.Values).Append(Gradient.Queries))
        {
            matrix.Span().Clear();
        }
    }

    /// <summary>Frees the memory.</summary>
    public void Dispose() => _memory.ForEach(buffer => buffer.Dispose());

    /// <summary>New zeros, freed with this object.</summary>
    /// <param name="rows">Rows.</param>
    /// <param name="columns">Columns.</param>
    /// <returns>A contiguous matrix.</returns>
    public Matrix New(int rows, int columns)
    {
        _memory.Add(new FloatBuffer((long)rows * columns));
        Matrix matrix = _memory[^1].Matrix(rows, columns);
        matrix.Span().Clear();
        return matrix;
    }

    private TensorGradient Room() => new(
        New(Input.Queries.Rows, Input.Queries.Columns), [.. Input.Keys.Select(m => New(m.Rows, m.Columns))], [.. Input.Values.Select(m => New(m.Rows, m.Columns))]);

    private Matrix Narrow(double[,] wide)
    {
        Matrix matrix = New(wide.GetLength(0), wide.GetLength(1));
        for (int i = 0; i < matrix.Rows; i++)
        {
            for (int j = 0; j < matrix.Columns; j++)
            {
                matrix.Row(i)[j] = (float)wide[i, j];
            }
        }

        return matrix;
    }
}
