using System.Numerics.Tensors;
using Subquartic.Numerics.Kernels;
using Subquartic.Numerics.Tensors;

namespace Subquartic.Training;

/// <summary>Settings of <see cref="Muon"/>.</summary>
public sealed record MuonOptions
{
    /// <summary>Decay of the mean of the gradients.</summary>
    public double Momentum { get; init; } = 0.95;

    /// <summary>Rounds of the Newton-Schulz iteration, at least 1.</summary>
    public int Rounds { get; init; } = 5;
}

/// <summary>Steps of the hidden matrices of a network along their momentum with all singular values brought near 1 (Jordan et al. 2024,
/// kellerjordan.github.io/posts/muon), scaled by 0.2 sqrt(max(rows, columns)) as by Liu et al. (arXiv 2502.16982), so that a step is about as long as
/// one of <see cref="AdamW"/> and shares its learning rate and weight decay.</summary>
/// <remarks>Every matrix is one sequence of products, so the bits do not depend on threads.</remarks>
public sealed class Muon : IDisposable
{
    // The quintic of Jordan et al.: steep at 0, and after five rounds everything from 1e-3 on lies in [0.68, 1.14].
    private const float Linear = 3.4445f, Cubic = -4.7750f, Quintic = 2.0315f;

    private readonly KernelSet _kernels;
    private readonly MuonOptions _options;
    private readonly Dictionary<(int Rows, int Columns), Workspace> _workspaces = [];

    /// <summary>Prepares the memory.</summary>
    /// <param name="parameters">What is trained; those with <see cref="Parameter.HiddenMatrices"/> are taken.</param>
    /// <param name="options">Settings.</param>
    /// <param name="kernels">The kernels that multiply.</param>
    public Muon(IReadOnlyList<Parameter> parameters, MuonOptions options, KernelSet kernels)
    {
        ArgumentNullException.ThrowIfNull(parameters);
        ArgumentNullException.ThrowIfNull(options);
        ArgumentNullException.ThrowIfNull(kernels);
        ArgumentOutOfRangeException.ThrowIfLessThan(options.Rounds, 1);
        _options = options;
        _kernels = kernels;
        foreach (Parameter parameter in parameters.Where(Takes))
        {
            (int rows, int remainder) = Math.DivRem(parameter.Matrix.Rows, parameter.HiddenMatrices);
            if (remainder != 0)
            {
                throw new ArgumentException($"{parameter.Name}: {parameter.Matrix.Rows} rows are not {parameter.HiddenMatrices} matrices.", nameof(parameters));
            }

            (int, int) size = (rows, parameter.Matrix.Columns);
            if (!_workspaces.ContainsKey(size))
            {
                _workspaces[size] = new Workspace(rows, parameter.Matrix.Columns);
            }
        }
    }

    /// <summary>Whether a parameter is a step of this kind.</summary>
    /// <param name="parameter">A parameter.</param>
    /// <returns>True for a trainable one that holds hidden matrices.</returns>
    public static bool Takes(Parameter parameter) => parameter is { Trainable: true, HiddenMatrices: > 0 };

    /// <summary>Changes a parameter by its gradient.</summary>
    /// <param name="parameter">One that <see cref="Takes"/> accepts, among those of the constructor.</param>
    /// <param name="momentum">Mean of its gradients (as long as the parameter): state, changed.</param>
    /// <param name="clip">Factor on the gradient.</param>
    /// <param name="keep">Factor on the value: weight decay.</param>
    /// <param name="learningRate">Step size.</param>
    public void Update(Parameter parameter, FloatBuffer momentum, float clip, float keep, double learningRate)
    {
        ArgumentNullException.ThrowIfNull(parameter);
        ArgumentNullException.ThrowIfNull(momentum);
        int rows = parameter.Matrix.Rows / parameter.HiddenMatrices;
        int columns = parameter.Matrix.Columns;
        Workspace work = _workspaces[(rows, columns)];
        float decay = (float)_options.Momentum;
        float rate = (float)(learningRate * 0.2 * Math.Sqrt(Math.Max(rows, columns)));
        for (int i = 0; i < parameter.HiddenMatrices; i++)
        {
            int length = rows * columns;
            Span<float> mean = momentum.Span((long)i * length, length);
            Span<float> direction = work.Direction.Span();
            TensorPrimitives.Multiply(parameter.Gradient.Span((long)i * length, length), clip * (1 - decay), direction);
            TensorPrimitives.MultiplyAdd(mean, decay, direction, mean);

            // Nesterov: the gradient of this step counts once more.
            TensorPrimitives.MultiplyAdd(mean, decay, direction, direction);
            ReadOnlySpan<float> step = Orthogonalize(work).Span();
            Span<float> value = parameter.Value.Span((long)i * length, length);
            TensorPrimitives.Multiply(value, keep, value);
            TensorPrimitives.MultiplyAdd(step, -rate, value, value);
        }
    }

    /// <summary>Frees the memory.</summary>
    public void Dispose()
    {
        foreach (Workspace work in _workspaces.Values)
        {
            work.Dispose();
        }
    }

    /// <summary>X := (a + b S + c S²) X with S = X Xᵀ, round after round; from the other side where X is tall, so that S is the smaller Gram matrix.</summary>
    private Matrix Orthogonalize(Workspace work)
    {
        Matrix x = work.Direction, next = work.Next, gram = work.Gram, polynomial = work.Polynomial;
        double squares = 0;
        foreach (float value in x.Span())
        {
            squares += (double)value * value;
        }

        // The Frobenius norm bounds the spectral one, as the iteration needs it. A gradient of zeros stays zero.
        TensorPrimitives.Multiply(x.Span(), (float)(1 / Math.Sqrt(Math.Max(squares, 1e-30))), x.Span());
        bool tall = x.Rows > x.Columns;
        for (int round = 0; round < _options.Rounds; round++)
        {
            work.Values = _kernels.Pack(x, transposed: tall, work.Values);
            _kernels.Gemm(x, work.Values, gram, new GemmOptions { TransposeA = tall });
            work.Square = _kernels.Pack(gram, transposed: false, work.Square);
            _kernels.Gemm(gram, work.Square, polynomial);
            TensorPrimitives.Multiply(polynomial.Span(), Quintic, polynomial.Span());
            TensorPrimitives.MultiplyAdd(gram.Span(), Cubic, polynomial.Span(), polynomial.Span());
            for (int i = 0; i < polynomial.Rows; i++)
            {
                polynomial.Row(i)[i] += Linear;
            }

            if (tall)
            {
                work.Square = _kernels.Pack(polynomial, transposed: false, work.Square);
                _kernels.Gemm(x, work.Square, next);
            }
            else
            {
                work.Transposed = _kernels.Pack(x, transposed: true, work.Transposed);
                _kernels.Gemm(polynomial, work.Transposed, next);
            }

            (x, next) = (next, x);
        }

        return x;
    }

    /// <summary>Memory for matrices of one size.</summary>
    private sealed class Workspace : IDisposable
    {
        private readonly FloatBuffer _buffer;

        public Workspace(int rows, int columns)
        {
            int side = Math.Min(rows, columns);
            long length = (long)rows * columns;
            long square = (long)side * side;
            _buffer = new FloatBuffer(2 * (length + square));
            Direction = _buffer.Matrix(rows, columns);
            Next = _buffer.Matrix(rows, columns, length);
            Gram = _buffer.Matrix(side, side, 2 * length);
            Polynomial = _buffer.Matrix(side, side, 2 * length + square);
        }

        public Matrix Direction { get; }

        public Matrix Next { get; }

        public Matrix Gram { get; }

        public Matrix Polynomial { get; }

        public PackedMatrix? Values { get; set; }

        public PackedMatrix? Transposed { get; set; }

        public PackedMatrix? Square { get; set; }

        public void Dispose()
        {
            _buffer.Dispose();
            Values?.Dispose();
            Transposed?.Dispose();
            Square?.Dispose();
        }
    }
}
